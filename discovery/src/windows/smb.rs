//! SMB2 as far as the server's challenge (MS-SMB2 2.2.3 to 2.2.6): a negotiation, then the first leg of a session setup.

use super::ntlm;
use crate::fact::Claim;
use crate::read::Reader;

/// The first message of a connection.
pub fn negotiate() -> Vec<u8> {
    let mut body = Vec::new();
    let dialects: [u16; 4] = [0x0202, 0x0210, 0x0300, 0x0302];
    body.extend(36_u16.to_le_bytes());
    body.extend(4_u16.to_le_bytes());
    // Signing is possible; nothing reserved, no capabilities, no client's identifier, no contexts.
    body.extend([1, 0, 0, 0]);
    body.extend([0; 28]);
    body.extend(dialects.iter().flat_map(|dialect| dialect.to_le_bytes()));
    message(NEGOTIATE, 0, &body)
}

/// The second message: asks the server to challenge us.
pub fn session_setup() -> Vec<u8> {
    let token = ntlm::negotiate();
    let len = u16::try_from(token.len()).expect("a short token");
    let mut body = 25_u16.to_le_bytes().to_vec();
    body.extend([0, 1]);
    body.extend([0; 8]);
    body.extend(u16::try_from(HEADER + SETUP).expect("a short header").to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend([0; 8]);
    body.extend(token);
    message(SESSION_SETUP, 1, &body)
}

/// Reads the answer to the negotiation: the machine's identifier, when it is one (a random UUID: RFC 9562, 5.4).
pub fn negotiated(bytes: &[u8]) -> Option<Vec<Claim>> {
    let mut reader = body(bytes, NEGOTIATE)?;
    (reader.le16()? == 65).then_some(())?;
    reader.bytes(6)?;
    let id = reader.array::<16>()?;
    // Little-endian: the version is in the eighth byte. Samba puts its name there, which others may have too.
    let is_random = id[7] >> 4 == 4 && id[8] >> 6 == 2;
    Some(is_random.then_some(Claim::Machine(id)).into_iter().collect())
}

/// Reads the answer to the session setup: what the challenge says.
pub fn challenged(bytes: &[u8]) -> Option<Vec<Claim>> {
    let mut reader = body(bytes, SESSION_SETUP)?;
    (reader.le16()? == 9).then_some(())?;
    ntlm::challenge(bytes)
}

/// The body of a message of this kind, behind its header.
fn body(bytes: &[u8], command: u16) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    let magic = reader.bytes(4)?;
    reader.bytes(8)?;
    let theirs = reader.le16()?;
    reader.bytes(HEADER - 14)?;
    (magic == MAGIC && theirs == command).then_some(reader)
}

/// How long the message is that begins with these four bytes (MS-SMB2 2.1); `None` when that is more than any answer.
pub fn length(prefix: [u8; 4]) -> Option<usize> {
    let len = usize::try_from(u32::from_be_bytes(prefix)).ok()?;
    (len <= LIMIT).then_some(len)
}

fn message(command: u16, id: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER + body.len()).expect("a short message");
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend(MAGIC);
    bytes.extend(64_u16.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(command.to_le_bytes());
    // One credit; no flags, nothing chained.
    bytes.extend([1, 0]);
    bytes.extend([0; 8]);
    bytes.extend(id.to_le_bytes());
    bytes.extend([0; 32]);
    bytes.extend(body);
    bytes
}

const MAGIC: &[u8] = b"\xfeSMB";
const HEADER: usize = 64;
/// The fixed part of a session setup.
const SETUP: usize = 24;
const NEGOTIATE: u16 = 0;
const SESSION_SETUP: u16 = 1;
/// Answers to these two messages have some hundred bytes.
const LIMIT: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_their_own_length() {
        for bytes in [negotiate(), session_setup()] {
            assert_eq!(length(*bytes.first_chunk().unwrap()), Some(bytes.len() - 4));
            assert_eq!(&bytes[4..8], MAGIC);
        }
        assert_eq!(length([0, 1, 0, 0]), None);
    }

    #[test]
    fn only_a_random_identifier_is_a_machines() {
        let with = |id: [u8; 16]| {
            let body = [&65_u16.to_le_bytes()[..], &[0; 6], &id].concat();
            negotiated(&message(NEGOTIATE, 0, &body)[4..])
        };
        let random = [1, 2, 3, 4, 5, 6, 7, 0x48, 0x89, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(with(random), Some(vec![Claim::Machine(random)]));
        assert_eq!(with(*b"localhost\0\0\0\0\0\0\0"), Some(vec![]));
    }

    #[test]
    fn a_challenge_is_read_and_pieces_of_it_are_not() {
        let body = [&9_u16.to_le_bytes()[..], &[0; 6], &ntlm::tests::sample()].concat();
        let bytes = message(SESSION_SETUP, 1, &body)[4..].to_vec();
        assert_eq!(challenged(&bytes).unwrap().len(), 3);
        assert_eq!(negotiated(&bytes), None);
        assert!((0..HEADER).all(|len| challenged(&bytes[..len]).is_none()));
    }
}
