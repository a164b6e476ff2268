//! The packets of probes and their answers, as they stand on an Ethernet link.
//!
//! `pnet_packet` knows where fields are; what they may hold is judged here. Everything that is read may come from an
//! adversary: it is a packet of the wanted kind, or a reason why not, and never a panic (fuzz target `probe`).

pub(crate) mod arp;
pub(crate) mod echo;
pub(crate) mod ip;
pub(crate) mod solicit;
pub(crate) mod syn;

use pnet_packet::ethernet::{EtherType, EthernetPacket, MutableEthernetPacket};

use crate::mac::Mac;

/// A frame to send: short, and made without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Frame {
    /// The longest probe is a neighbour solicitation.
    const CAPACITY: usize = 86;

    /// A frame with `len` bytes behind its header, which `fill` writes.
    pub(crate) fn new(
        (source, target): (Mac, Mac),
        kind: EtherType,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Self {
        let (mut bytes, len) = ([0; Self::CAPACITY], HEADER + len);
        let mut header = MutableEthernetPacket::new(&mut bytes).expect("longer than a header");
        header.set_source(source.0.into());
        header.set_destination(target.0.into());
        header.set_ethertype(kind);
        fill(&mut bytes[HEADER..len]);
        Self { bytes, len }
    }

    /// What goes onto the wire; the card pads it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Why a frame is no answer to this poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is somebody else's: another protocol, another program, another poll.
    #[error("not for this poll")]
    Foreign,
    /// It says what cannot be.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// It says it is an answer, and does not carry what the probe carried.
    #[error("the answer does not carry the cookie of a probe")]
    Forged,
}

/// Takes a received frame apart: who sent it, what kind it is, what it holds.
pub(crate) fn open(frame: &[u8]) -> Result<(Mac, EtherType, &[u8]), Ignored> {
    let header = EthernetPacket::new(frame).ok_or(Ignored::Malformed("a frame shorter than its header"))?;
    let source = Mac(header.get_source().octets());
    Ok((source, header.get_ethertype(), frame.get(HEADER..).unwrap_or_default()))
}

/// RFC 894.
const HEADER: usize = 14;
