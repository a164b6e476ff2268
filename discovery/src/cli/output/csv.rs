//! Comma-separated values: a line for each address.

use std::io;

use ::csv::Writer;

use super::{micros, sources, unix};
use crate::inventory::Host;

/// The lines.
pub(super) fn lines(hosts: &[&Host]) -> io::Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(["address", "name", "mac", "rtt_us", "sources", "first_seen", "last_seen"])?;
    for host in hosts {
        // An account of a directory may have no address.
        let nowhere = host.addresses.is_empty().then_some((None, host.first_seen, host.last_seen));
        let addresses = host.addresses.iter().map(|(address, seen)| (Some(address), seen.first, seen.last));
        for (address, first, last) in addresses.chain(nowhere) {
            writer.write_record([
                address.map(ToString::to_string).unwrap_or_default(),
                host.name().map(|name| inert(name.as_str())).unwrap_or_default(),
                host.macs.first().map(ToString::to_string).unwrap_or_default(),
                host.rtt.map(|rtt| micros(rtt).to_string()).unwrap_or_default(),
                sources(host).join(" "),
                unix(first).to_string(),
                unix(last).to_string(),
            ])?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// A name that a spreadsheet takes for a name, whatever a device calls itself.
fn inert(name: &str) -> String {
    match name.starts_with(['=', '+', '-', '@']) {
        true => format!("'{name}"),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_a_formula() {
        assert_eq!(inert("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(inert("web-7"), "web-7");
    }
}
