//! WS-Discovery (OASIS, version 1.1): who is on the link, since Windows no longer speaks NetBIOS by default.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::fact::Claim;

/// Asks everybody. The identifier makes this question known again in its answers.
pub fn probe(id: [u8; 16]) -> String {
    let id = uuid(id);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:wsa=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:wsd=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\">\
         <soap:Header><wsa:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</wsa:To>\
         <wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</wsa:Action>\
         <wsa:MessageID>urn:uuid:{id}</wsa:MessageID></soap:Header>\
         <soap:Body><wsd:Probe/></soap:Body></soap:Envelope>"
    )
}

/// Reads an answer to the probe with this identifier: the endpoint's own, which is the machine's; `None` when it is none.
pub fn matched(id: [u8; 16], bytes: &[u8]) -> Option<Vec<Claim>> {
    let text = std::str::from_utf8(bytes.get(..LIMIT).unwrap_or(bytes)).ok()?;
    let (mut relates, mut endpoints) = (false, Vec::new());
    let (mut reader, mut path) = (Reader::from_str(text), Vec::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if path.len() < DEPTH => path.push(start.local_name().as_ref().to_owned()),
            Event::Start(_) => return None,
            Event::End(_) => drop(path.pop()),
            Event::Text(said) => {
                let uuid = parse_uuid(said.trim());
                let names: Vec<&str> = path.iter().rev().take(2).map(String::as_str).collect();
                match names[..] {
                    ["RelatesTo", ..] => relates |= uuid == Some(id),
                    ["Address", "EndpointReference"] if endpoints.len() < ENDPOINTS => endpoints.extend(uuid),
                    _ => {}
                }
            }
            // Entities and what declares them have no place in a SOAP message.
            Event::DocType(_) => return None,
            Event::Eof => break,
            _ => {}
        }
    }
    relates.then(|| endpoints.into_iter().map(Claim::Machine).collect())
}

fn uuid(id: [u8; 16]) -> String {
    let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(<[String]>::concat).join("-")
}

/// Reads `urn:uuid:` and a UUID.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix("urn:uuid:")?;
    let hex: Vec<u8> = digits.bytes().filter(|byte| *byte != b'-').collect();
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let bytes = pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The longest datagram; what is behind it was never sent.
const LIMIT: usize = 65_507;
/// Elements inside elements.
const DEPTH: usize = 16;
/// Endpoints of one answer.
const ENDPOINTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_our_probe_names_its_endpoint() {
        assert_eq!(matched(ID, answer(ID).as_bytes()), Some(vec![Claim::Machine(ENDPOINT)]));
        assert_eq!(matched([8; 16], answer(ID).as_bytes()), None, "an answer to somebody else");
        assert_eq!(matched(ID, probe(ID).as_bytes()), None);
    }

    #[test]
    fn what_is_no_soap_message_is_refused() {
        let bomb = format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", answer(ID));
        assert_eq!(matched(ID, bomb.as_bytes()), None);
        assert_eq!(matched(ID, "<a>".repeat(100).as_bytes()), None);
        assert_eq!(matched(ID, &[0xff; 100]), None);
        assert_eq!(matched(ID, b""), None);
    }

    fn answer(to: [u8; 16]) -> String {
        format!(
            "<s:Envelope xmlns:s=\"x\"><s:Header><a:RelatesTo>urn:uuid:{}</a:RelatesTo></s:Header><s:Body>\
             <d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:{}</a:Address>\
             </a:EndpointReference></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>",
            uuid(to),
            uuid(ENDPOINT)
        )
    }

    const ID: [u8; 16] = [7; 16];
    const ENDPOINT: [u8; 16] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x80, 1, 2, 3, 4, 5, 6, 7];
}
