//! The codec of `klnet-ksnproxy`, whoever answers it, and its core.

pub mod proxy;
pub mod responder;

use klnet_ksnproxy::frame::{self, Header, Prefix};
use klnet_ksnproxy::piece::{Fetch, Piece};
use klnet_ksnproxy::subject::Key;
use klnet_ksnproxy::ticket::{Direction, Sealer, Ticket};

/// Any bytes are one header, keys, verdicts, matches, a prefix, or a piece or the wish for one, each in its one encoding, or none.
pub fn reputation_frame(data: &[u8]) {
    let Ok(header) = Header::parse(data) else { return };
    assert_eq!(header.encode(), data[..Header::LENGTH]);
    let body = &data[Header::LENGTH..];
    if let Ok(keys) = frame::decode_keys(&header, body) {
        assert_eq!(keys.iter().flat_map(Key::encode).collect::<Vec<_>>(), body);
    }
    if let Ok(verdicts) = frame::decode_verdicts(&header, body) {
        assert_eq!(verdicts.iter().flat_map(|verdict| verdict.pack()).collect::<Vec<_>>(), body);
    }
    if let Ok(matches) = frame::decode_matches(body) {
        let encoded = matches.iter().flat_map(|(key, verdict)| [&key.encode()[..], &verdict.pack()].concat());
        assert_eq!(encoded.collect::<Vec<_>>(), body);
    }
    if let Ok(prefix) = Prefix::decode(body) {
        assert_eq!(prefix.encode(), body);
    }
    let mut encoded = Vec::new();
    if let Ok(fetch) = Fetch::decode(body) {
        fetch.encode(header.serial, &mut encoded);
        assert_eq!(&encoded[Header::LENGTH..], body);
    } else if let Ok(piece) = Piece::decode(body) {
        piece.encode(header, &mut encoded);
        assert_eq!(&encoded[Header::LENGTH..], body);
    }
}

/// Any bytes are one ticket or none, and nothing opens that nobody sealed.
pub fn reputation_ticket(data: &[u8]) {
    if let Ok(ticket) = Ticket::decode(data) {
        assert_eq!(ticket.encode().as_slice(), data);
    }
    let opened = Sealer::new(&[7; 16]).open(Direction::Query, 1, &mut data.to_vec()).is_ok();
    assert!(!opened, "nobody has this key");
}
