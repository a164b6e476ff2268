//! FEEDBACK: what a receiver has, and what it needs.

use std::time::Duration;

use bytes::BufMut;

use crate::loss::Loss;
use crate::reader::{Malformed, Reader};

/// What a receiver tells the sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The highest packet number it has.
    pub seen: u64,
    /// How long it has had that.
    pub held: Duration,
    /// Counts what it says.
    pub sequence: u32,
    /// How it is doing.
    pub state: State,
    /// Whether it has hardly any room for another block.
    pub full: bool,
    /// The share of packets it loses.
    pub loss: Option<Loss>,
    /// What its own socket dropped so far.
    pub overruns: u32,
    /// Every block below is verified.
    pub below: u32,
    /// Blocks that are verified.
    pub verified: u32,
    /// Symbols that were restored.
    pub repaired: u32,
    /// A block that was not what was signed, and waits for tags.
    pub spoilt: Option<u32>,
    /// What people call it.
    pub label: String,
    /// What it asks for.
    pub deficits: Vec<Deficit>,
}

/// How a receiver is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes symbols.
    Receiving,
    /// The object is in its place.
    Complete,
    /// It cannot take the object, such as for want of room; it may try again.
    Failed,
}

/// What a block lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deficit {
    /// Which block.
    pub block: u32,
    /// How many more symbols restore it.
    pub symbols: u16,
}

impl Feedback {
    /// The sealed body.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.label.len() + self.deficits.len() * DEFICIT);
        bytes.put_u64(self.seen);
        bytes.put_u32(u32::try_from(self.held.as_micros()).unwrap_or(u32::MAX));
        bytes.put_u32(self.sequence);
        bytes.put_u8(self.state as u8 + 1);
        bytes.put_u8(self.full.into());
        bytes.put_u16(Loss::encode(self.loss));
        let spoilt = self.spoilt.unwrap_or(NOTHING_SPOILT);
        for number in [self.overruns, self.below, self.verified, self.repaired, spoilt] {
            bytes.put_u32(number);
        }
        let label = self.label.as_bytes().get(..LABEL_LIMIT).unwrap_or(self.label.as_bytes());
        bytes.put_u8(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.put_slice(label);
        let deficits = self.deficits.get(..DEFICITS_LIMIT).unwrap_or(&self.deficits);
        bytes.put_u8(u8::try_from(deficits.len()).unwrap_or(u8::MAX));
        for deficit in deficits {
            bytes.put_u32(deficit.block);
            bytes.put_u16(deficit.symbols);
        }
        bytes
    }

    /// Reads an opened body.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let seen = reader.u64()?;
        let held = Duration::from_micros(reader.u32()?.into());
        let (sequence, state) = (reader.u32()?, State::try_from(reader.u8()?)?);
        let full = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let loss = Loss::decode(reader.u16()?);
        let [overruns, below, verified, repaired] =
            [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let spoilt = Some(reader.u32()?).filter(|block| *block != NOTHING_SPOILT);
        let label = usize::from(reader.u8()?);
        let label = reader.text(label, LABEL_LIMIT)?.to_owned();
        if label.chars().any(char::is_control) {
            return Err(Malformed);
        }
        let count = usize::from(reader.u8()?);
        if count > DEFICITS_LIMIT {
            return Err(Malformed);
        }
        let mut deficit = || Ok(Deficit { block: reader.u32()?, symbols: reader.u16()? });
        let deficits = (0..count).map(|_| deficit()).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self {
            seen,
            held,
            sequence,
            state,
            full,
            loss,
            overruns,
            below,
            verified,
            repaired,
            spoilt,
            label,
            deficits,
        })
    }
}

impl TryFrom<u8> for State {
    type Error = Malformed;

    fn try_from(byte: u8) -> Result<Self, Malformed> {
        match byte {
            1 => Ok(Self::Receiving),
            2 => Ok(Self::Complete),
            3 => Ok(Self::Failed),
            _ => Err(Malformed),
        }
    }
}

/// `text` as a label: cut to what travels, with nothing that could act on a terminal.
pub fn label(text: &str) -> String {
    let mut label: String = text.chars().filter(|c| !c.is_control()).collect();
    while label.len() > LABEL_LIMIT {
        label.pop();
    }
    label
}

/// How often a receiver reports in a group of this size.
pub(crate) fn period(size: u32) -> Duration {
    REPORT.max(Duration::from_millis(u64::from(size)))
}

/// As often as a sender that looks for its rate changes it.
const REPORT: Duration = Duration::from_millis(50);

const FIXED: usize = 8 + 4 + 4 + 1 + 1 + 2 + 5 * 4 + 1 + 1;
/// Blocks have numbers of 24 bits.
const NOTHING_SPOILT: u32 = u32::MAX;
const DEFICIT: usize = 4 + 2;
/// Bytes of the longest label.
pub const LABEL_LIMIT: usize = 64;
/// Deficits of the longest feedback: with everything else 1,062 bytes.
pub const DEFICITS_LIMIT: usize = 160;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn feedback_survives_the_wire() {
        let bytes = sample().encode();
        assert_eq!(Feedback::decode(&bytes), Ok(sample()));
        assert!((0..bytes.len()).all(|cut| Feedback::decode(&bytes[..cut]).is_err()));
        assert!(Feedback::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_label_that_acts_on_a_terminal_is_refused() {
        let hostile = Feedback { label: "a\u{1b}[2J".to_owned(), ..sample() };
        assert_eq!(Feedback::decode(&hostile.encode()), Err(Malformed));
        assert_eq!(label("a\u{1b}[2J"), "a[2J");
        assert_eq!(label(&"ü".repeat(100)).len(), LABEL_LIMIT);
    }

    pub(crate) fn sample() -> Feedback {
        Feedback {
            seen: 77,
            held: Duration::from_micros(1500),
            sequence: 3,
            state: State::Receiving,
            full: false,
            loss: Loss::new(0.05),
            overruns: 1,
            below: 4,
            verified: 5,
            repaired: 6,
            spoilt: Some(4),
            label: "web-7".to_owned(),
            deficits: vec![Deficit { block: 4, symbols: 17 }, Deficit { block: 6, symbols: 2979 }],
        }
    }
}
