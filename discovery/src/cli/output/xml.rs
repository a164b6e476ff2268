//! XML as nmap writes it (its DTD, version 1.05), so that programs that read nmap's read this.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Run, micros, unix};
use crate::fact::Source;
use crate::inventory::Host;

/// The document.
pub(super) fn document(hosts: &[&Host], run: &Run) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.write_event(Event::DocType(BytesText::from_escaped("nmaprun")))?;
    let begun = unix(run.begun).to_string();
    let version = env!("CARGO_PKG_VERSION");
    let root = writer.create_element("nmaprun").with_attributes([
        ("scanner", "klpoll"),
        ("args", "klpoll"),
        ("start", begun.as_str()),
        ("version", version),
        ("xmloutputversion", "1.05"),
    ]);
    root.write_inner_content(|writer| {
        hosts.iter().try_for_each(|host| write_host(writer, host))?;
        write_statistics(writer, hosts, run)
    })?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    Ok(text + "\n")
}

/// One element for each address, as nmap has it.
fn write_host(writer: &mut Writer<Vec<u8>>, host: &Host) -> io::Result<()> {
    for (address, seen) in &host.addresses {
        let element = writer.create_element("host");
        element.write_inner_content(|writer| {
            let status = [("state", "up"), ("reason", reason(seen.source)), ("reason_ttl", "0")];
            writer.create_element("status").with_attributes(status).write_empty()?;
            let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            let text = address.to_string();
            let attributes = [("addr", text.as_str()), ("addrtype", kind)];
            writer.create_element("address").with_attributes(attributes).write_empty()?;
            if let Some(mac) = host.macs.first() {
                let text = mac.to_string().to_uppercase();
                let attributes = [("addr", text.as_str()), ("addrtype", "mac")];
                writer.create_element("address").with_attributes(attributes).write_empty()?;
            }
            writer.create_element("hostnames").write_inner_content(|writer| {
                if let Some(name) = host.name() {
                    let attributes = [("name", name.as_str()), ("type", "PTR")];
                    writer.create_element("hostname").with_attributes(attributes).write_empty()?;
                }
                Ok(())
            })?;
            if let Some(rtt) = host.rtt {
                let srtt = micros(rtt).to_string();
                let attributes = [("srtt", srtt.as_str()), ("rttvar", "0"), ("to", "0")];
                writer.create_element("times").with_attributes(attributes).write_empty()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn write_statistics(writer: &mut Writer<Vec<u8>>, hosts: &[&Host], run: &Run) -> io::Result<()> {
    let up: usize = hosts.iter().map(|host| host.addresses.len()).sum();
    let total = usize::try_from(run.asked).unwrap_or(usize::MAX).max(up);
    let (up, down, total) = (up.to_string(), (total - up).to_string(), total.to_string());
    let now = std::time::SystemTime::now();
    let elapsed = now.duration_since(run.begun).unwrap_or_default().as_secs_f64();
    let (time, elapsed) = (unix(now).to_string(), format!("{elapsed:.2}"));
    writer.create_element("runstats").write_inner_content(|writer| {
        let finished = [("time", time.as_str()), ("elapsed", elapsed.as_str()), ("exit", "success")];
        writer.create_element("finished").with_attributes(finished).write_empty()?;
        let counts = [("up", up.as_str()), ("down", down.as_str()), ("total", total.as_str())];
        writer.create_element("hosts").with_attributes(counts).write_empty()?;
        Ok(())
    })?;
    Ok(())
}

/// nmap's words.
const fn reason(source: Source) -> &'static str {
    match source {
        Source::Arp => "arp-response",
        Source::Neighbor => "nd-response",
        Source::Echo | Source::AllNodes => "echo-reply",
        Source::Tcp => "conn-refused",
        Source::Udp => "port-unreach",
        _ => "user-set",
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fact::{Claim, Fact, NameKind};
    use crate::inventory::Inventory;
    use crate::name::Text;

    #[test]
    fn markup_in_a_name_stays_a_name() {
        let mut inventory = Inventory::default();
        let name = Text::host("<b>\"&'x").unwrap();
        let (address, claim) = ([10, 1, 0, 7].into(), Claim::Name(NameKind::Dns, name));
        inventory.learn(&Fact { address, claim, source: Source::ReverseDns, seen: SystemTime::UNIX_EPOCH });
        let hosts: Vec<_> = inventory.hosts().map(|(_, host)| host).collect();
        let text = document(&hosts, &Run { begun: SystemTime::UNIX_EPOCH, asked: 256 }).unwrap();
        assert!(text.contains("name=\"&lt;b&gt;&quot;&amp;&apos;x\""), "{text}");
        assert!(text.contains("<hosts up=\"1\" down=\"255\" total=\"256\"/>"), "{text}");
    }
}
