//! MARK: how far the sender is, and which requests it has heard.

use std::time::Duration;

use bytes::BufMut;

use crate::loss::Loss;
use crate::reader::{Malformed, Reader};

/// What the sender tells everyone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mark {
    /// Whether every block went out in full once.
    pub tail: bool,
    /// Every block below went out in full once.
    pub frontier: u32,
    /// The group's round trip (GRTT, RFC 5401).
    pub grtt: Duration,
    /// Receivers known.
    pub group: u32,
    /// Loss of the middle receiver.
    pub loss: Option<Loss>,
    /// Blocks of which something happened lately.
    pub entries: Vec<MarkEntry>,
}

/// What there is to say about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkEntry {
    /// Which block.
    pub block: u32,
    /// Symbols of it that went out since the session began.
    pub sent: u32,
    /// The largest deficit that is being answered; 0 once all that was asked for is out.
    pub heard: u16,
}

impl Mark {
    /// The sealed body.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.entries.len() * ENTRY);
        bytes.put_u8(u8::from(self.tail));
        bytes.put_u32(self.frontier);
        bytes.put_u32(u32::try_from(self.grtt.as_micros()).unwrap_or(u32::MAX));
        bytes.put_u32(self.group);
        bytes.put_u16(Loss::encode(self.loss));
        let entries = self.entries.get(..ENTRIES_LIMIT).unwrap_or(&self.entries);
        bytes.put_u8(u8::try_from(entries.len()).unwrap_or(u8::MAX));
        for entry in entries {
            bytes.put_u32(entry.block);
            bytes.put_u32(entry.sent);
            bytes.put_u16(entry.heard);
        }
        bytes
    }

    /// Reads an opened body.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let tail = match reader.u8()? {
            flags @ 0..=1 => flags == 1,
            _ => return Err(Malformed),
        };
        let frontier = reader.u32()?;
        let grtt = Duration::from_micros(reader.u32()?.into());
        let (group, loss) = (reader.u32()?, Loss::decode(reader.u16()?));
        let count = usize::from(reader.u8()?);
        if count > ENTRIES_LIMIT {
            return Err(Malformed);
        }
        let mut entry = || Ok(MarkEntry { block: reader.u32()?, sent: reader.u32()?, heard: reader.u16()? });
        let entries = (0..count).map(|_| entry()).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { tail, frontier, grtt, group, loss, entries })
    }
}

const FIXED: usize = 1 + 4 + 4 + 4 + 2 + 1;
const ENTRY: usize = 4 + 4 + 2;
/// Entries of the longest mark: 1,023 bytes.
pub const ENTRIES_LIMIT: usize = 98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_wire() {
        let entry = MarkEntry { block: 9, sent: 3001, heard: 17 };
        for (tail, loss) in [(true, Loss::new(0.05)), (false, None)] {
            let grtt = Duration::from_micros(2345);
            let mark = Mark { tail, frontier: 12, grtt, group: 1000, loss, entries: vec![entry; 3] };
            let bytes = mark.encode();
            assert_eq!(Mark::decode(&bytes), Ok(mark));
            assert!((0..bytes.len()).all(|cut| Mark::decode(&bytes[..cut]).is_err()));
            assert!(Mark::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
