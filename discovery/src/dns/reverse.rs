//! The question for the names of an address, and its answer (RFC 1035, 3.5; RFC 3596, 2.5).

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::Text;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The address has these names; none is an answer too.
    Names(Vec<Text>),
    /// The answer did not fit in a datagram: ask by TCP.
    Truncated,
    /// The server could not or would not say.
    Failed,
}

/// The question for the names of `address`.
pub fn question(id: u16, address: IpAddr) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from(address), RecordType::PTR));
    message.to_vec().expect("a name of 74 characters fits")
}

/// Reads an answer to the question with this id for the names of `address`; `None` when it is none.
pub fn reply(id: u16, address: IpAddr, bytes: &[u8]) -> Option<Reply> {
    // The id stands first: most of what is not meant is known without reading further.
    if bytes.first_chunk() != Some(&id.to_be_bytes()) {
        return None;
    }
    let message = Message::from_vec(bytes).ok()?;
    let asked = Name::from(address);
    let [query] = &message.queries[..] else { return None };
    let answers = message.metadata.message_type == MessageType::Response
        && query.query_type() == RecordType::PTR
        && *query.name() == asked;
    if !answers {
        return None;
    }
    if message.metadata.truncation {
        return Some(Reply::Truncated);
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Some(Reply::Names(names(&message, asked))),
        _ => Some(Reply::Failed),
    }
}

/// Follows the aliases of delegated ranges (RFC 2317), which stand before what they lead to.
fn names(message: &Message, mut asked: Name) -> Vec<Text> {
    let mut names = Vec::new();
    for record in message.answers.iter().take(RECORDS) {
        match &record.data {
            RData::CNAME(alias) if record.name == asked => asked = alias.0.clone(),
            RData::PTR(name) if record.name == asked && names.len() < NAMES => {
                names.extend(Text::host(&name.0.to_utf8()));
            }
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Records that are looked at.
const RECORDS: usize = 64;
/// Names that one address may have.
const NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{CNAME, PTR};

    use super::*;

    #[test]
    fn a_question_has_these_bytes() {
        let text = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x019\x010\x011\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(question(0x1234, ADDRESS), text);
    }

    #[test]
    fn an_answer_is_to_one_question() {
        let bytes = answer(ResponseCode::NoError, &["Web-7.example.org."]);
        let names = Some(Reply::Names(vec![Text::host("web-7.example.org").unwrap()]));
        assert_eq!(reply(7, ADDRESS, &bytes), names);
        assert_eq!(reply(8, ADDRESS, &bytes), None);
        assert_eq!(reply(7, [10, 1, 0, 10].into(), &bytes), None);
        assert_eq!(reply(7, ADDRESS, &question(7, ADDRESS)), None, "a question is no answer");
        assert!((0..bytes.len()).all(|len| reply(7, ADDRESS, &bytes[..len]).is_none()));
    }

    #[test]
    fn that_there_is_no_name_is_an_answer_and_a_failure_is_not() {
        let read = |code| reply(7, ADDRESS, &answer(code, &[]));
        assert_eq!(read(ResponseCode::NXDomain), Some(Reply::Names(vec![])));
        assert_eq!(read(ResponseCode::ServFail), Some(Reply::Failed));
        assert_eq!(read(ResponseCode::Refused), Some(Reply::Failed));
    }

    #[test]
    fn an_alias_is_followed() {
        let mut message = Message::from_vec(&answer(ResponseCode::NoError, &[])).unwrap();
        let through = Name::from_ascii("9.0-15.0.1.10.in-addr.arpa.").unwrap();
        let records = [
            Record::from_rdata(Name::from(ADDRESS), 60, RData::CNAME(CNAME(through.clone()))),
            Record::from_rdata(through, 60, ptr("b.example.org.")),
            Record::from_rdata(Name::from_ascii("other.").unwrap(), 60, ptr("c.example.org.")),
        ];
        message.add_answers(records);
        let names = Some(Reply::Names(vec![Text::host("b.example.org").unwrap()]));
        assert_eq!(reply(7, ADDRESS, &message.to_vec().unwrap()), names);
    }

    #[test]
    fn a_loop_of_pointers_ends() {
        let mut bytes = answer(ResponseCode::NoError, &["x.example.org."]);
        let len = bytes.len();
        let here = u16::try_from(len - 2).unwrap();
        bytes[len - 2..].copy_from_slice(&(0xc000 | here).to_be_bytes());
        assert_eq!(reply(7, ADDRESS, &bytes), None);
    }

    fn answer(code: ResponseCode, names: &[&str]) -> Vec<u8> {
        let mut message = Message::from_vec(&question(7, ADDRESS)).unwrap();
        message.metadata.message_type = MessageType::Response;
        message.metadata.response_code = code;
        for name in names {
            message.add_answer(Record::from_rdata(Name::from(ADDRESS), 60, ptr(name)));
        }
        message.to_vec().unwrap()
    }

    fn ptr(name: &str) -> RData {
        RData::PTR(PTR(Name::from_ascii(name).unwrap()))
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 9));
}
