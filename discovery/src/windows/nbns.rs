//! The NetBIOS node status (RFC 1002, 4.2.17 and 4.2.18): every name of a machine, and its card.

use crate::fact::{Claim, NameKind};
use crate::mac::Mac;
use crate::name::Text;
use crate::read::Reader;

/// Asks for all names: those of `*`.
pub fn question(id: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(50);
    bytes.extend(id.to_be_bytes());
    // A query of one question, and nothing else.
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.push(ENCODED);
    // Each half byte is a letter (RFC 1001, 14.1): * and fifteen zeros.
    bytes.extend(b"CK");
    bytes.extend([b'A'; 30]);
    bytes.extend([0, 0, STATUS, 0, INTERNET]);
    bytes
}

/// Reads the answer to the question with this id; `None` when it is none.
pub fn reply(id: u16, bytes: &[u8]) -> Option<Vec<Claim>> {
    let mut reader = Reader::new(bytes);
    let (theirs, flags) = (reader.be16()?, reader.be16()?);
    let [questions, answers] = [reader.be16()?, reader.be16()?];
    reader.bytes(4)?;
    if theirs != id || flags & RESPONSE == 0 || questions != 0 || answers == 0 {
        return None;
    }
    // The name that was asked for, whole or as a pointer to nothing that could be before it.
    let len = reader.byte()?;
    reader.bytes(usize::from(len))?;
    (len == ENCODED && reader.byte()? == 0).then_some(())?;
    (reader.be16()? == u16::from(STATUS)).then_some(())?;
    // Class, lifetime, length.
    reader.bytes(8)?;
    let count = reader.byte()?;
    let mut claims = Vec::new();
    for _ in 0..count {
        let (name, kind, flags) = (reader.array::<15>()?, reader.byte()?, reader.be16()?);
        claims.extend(claim(&name, kind, flags));
    }
    let mac = reader.array().map(Mac).filter(|mac| mac.is_of_a_host());
    claims.extend(mac.map(Claim::Mac));
    Some(claims)
}

/// The machine's own name, and the group it is in (RFC 1002, 4.2.18; suffix 0 is the workstation's).
fn claim(name: &[u8; 15], suffix: u8, flags: u16) -> Option<Claim> {
    let kind = if flags & GROUP == 0 { NameKind::NetBios } else { NameKind::Domain };
    let text = Text::from_bytes(name.trim_ascii_end()).filter(|_| suffix == 0)?;
    Some(Claim::Name(kind, text))
}

/// Half bytes of a name.
const ENCODED: u8 = 32;
const STATUS: u8 = 0x21;
const INTERNET: u8 = 1;
const RESPONSE: u16 = 0x8000;
const GROUP: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_50_bytes() {
        let bytes = question(0x1234);
        assert_eq!(bytes.len(), 50);
        assert_eq!(&bytes[..15], b"\x12\x34\0\0\0\x01\0\0\0\0\0\0 CK");
        assert_eq!(&bytes[45..], [0, 0, 0x21, 0, 1]);
    }

    #[test]
    fn an_answer_names_machine_group_and_card() {
        let claims = reply(7, &answer(&[("PC-7", 0, 0x0400), ("PC-7", 0x20, 0x0400), ("OFFICE", 0, 0x8400)]));
        let name = |kind, text: &str| Claim::Name(kind, Text::new(text).unwrap());
        assert_eq!(
            claims.unwrap(),
            [
                name(NameKind::NetBios, "PC-7"),
                name(NameKind::Domain, "OFFICE"),
                Claim::Mac(Mac([2, 0, 0, 0, 0, 7]))
            ]
        );
    }

    #[test]
    fn what_is_cut_or_for_another_question_is_none() {
        let bytes = answer(&[("PC-7", 0, 0x0400)]);
        assert_eq!(reply(8, &bytes), None);
        assert_eq!(reply(7, &question(7)), None);
        let without_card = bytes.len() - 6;
        assert!((0..without_card).all(|len| reply(7, &bytes[..len]).is_none()));
    }

    fn answer(names: &[(&str, u8, u16)]) -> Vec<u8> {
        let mut bytes = [&[0, 7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 32][..], b"CK", &[b'A'; 30]].concat();
        bytes.extend([0, 0, 0x21, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(names.len()).unwrap()]);
        for (name, suffix, flags) in names {
            bytes.extend(format!("{name:15}").bytes().chain([*suffix]).chain(flags.to_be_bytes()));
        }
        bytes.extend([2, 0, 0, 0, 0, 7]);
        bytes
    }
}
