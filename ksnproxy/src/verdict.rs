//! What can be answered about a subject.

use std::time::Duration;

/// What is known of a subject, as of `age` ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The judgement.
    pub reputation: Reputation,
    /// What it is, or why it is judged so.
    pub category: Category,
    /// How sure the source is, in percent.
    pub confidence: u8,
    /// Which list says so: its number in the snapshot, 0 for none.
    pub source: u16,
    /// How long it may be used; with [`Reputation::Unavailable`], when to ask again. Whole seconds.
    pub ttl: Duration,
    /// How long ago the source said so. Whole seconds.
    pub age: Duration,
    /// Past its time, and given because nothing newer could be had.
    pub stale: bool,
    /// Not everything that could know was asked.
    pub partial: bool,
}

/// A judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reputation {
    /// Nobody who was asked knows it.
    Unknown = 0,
    /// It does harm.
    Malicious = 1,
    /// It may do harm.
    Suspicious = 2,
    /// It was judged to do none.
    Clean = 3,
    /// A reference collection has it, which judges nothing.
    Known = 4,
    /// Whoever knows could not be asked; ask again after the TTL.
    Unavailable = 5,
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// Nothing is said.
    None = 0,
    /// Malware of any kind.
    Malware = 1,
    /// Ransomware.
    Ransomware = 2,
    /// Takes passwords and the like by pretending.
    Phishing = 3,
    /// Unwanted or potentially harmful software.
    Unwanted = 4,
    /// A place that malware is distributed from.
    Distribution = 5,
    /// A place that malware takes its orders from.
    CommandAndControl = 6,
    /// Spam.
    Spam = 7,
    /// A certificate that was revoked, or is used by malware.
    BadCertificate = 8,
    /// Published software.
    Software = 9,
    /// Popular, or the infrastructure of many: a match elsewhere is most likely a mistake.
    Popular = 10,
    /// A file, address or name for tests.
    Test = 11,
}

/// Bytes that are no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the 16 bytes are no verdict: a number in them has no meaning")]
pub struct NoVerdict;

impl Verdict {
    /// What is said of a subject nobody knows, for `ttl`.
    pub const fn unknown(ttl: Duration) -> Self {
        Self {
            reputation: Reputation::Unknown,
            category: Category::None,
            confidence: 0,
            source: 0,
            ttl,
            age: Duration::ZERO,
            stale: false,
            partial: false,
        }
    }

    /// What is said when whoever knows cannot be asked before `retry_after`.
    pub const fn unavailable(retry_after: Duration) -> Self {
        Self { reputation: Reputation::Unavailable, partial: true, ..Self::unknown(retry_after) }
    }

    /// Its form on the wire: reputation, category, confidence, flags, source, two zeros, TTL and age in seconds.
    pub fn pack(&self) -> [u8; 16] {
        let mut packed = [0; 16];
        packed[0] = self.reputation as u8;
        packed[1] = self.category as u8;
        packed[2] = self.confidence;
        packed[3] = u8::from(self.stale) | u8::from(self.partial) << 1;
        packed[4..6].copy_from_slice(&self.source.to_be_bytes());
        packed[8..12].copy_from_slice(&seconds(self.ttl).to_be_bytes());
        packed[12..].copy_from_slice(&seconds(self.age).to_be_bytes());
        packed
    }

    /// Reads what [`Self::pack`] wrote.
    ///
    /// # Errors
    /// [`NoVerdict`] when a number in it has no meaning.
    pub fn unpack(packed: &[u8; 16]) -> Result<Self, NoVerdict> {
        let [reputation, category, confidence, flags, s0, s1, z0, z1, t0, t1, t2, t3, a0, a1, a2, a3] =
            *packed;
        if confidence > 100 || flags > 3 || [z0, z1] != [0, 0] {
            return Err(NoVerdict);
        }
        Ok(Self {
            reputation: Reputation::from_number(reputation).ok_or(NoVerdict)?,
            category: Category::from_number(category).ok_or(NoVerdict)?,
            confidence,
            source: u16::from_be_bytes([s0, s1]),
            ttl: Duration::from_secs(u32::from_be_bytes([t0, t1, t2, t3]).into()),
            age: Duration::from_secs(u32::from_be_bytes([a0, a1, a2, a3]).into()),
            stale: flags & 1 != 0,
            partial: flags & 2 != 0,
        })
    }
}

impl Reputation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Malicious, Self::Suspicious, Self::Clean, Self::Known, Self::Unavailable];

    /// The judgement with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its word in lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Malicious => "malicious",
            Self::Suspicious => "suspicious",
            Self::Clean => "clean",
            Self::Known => "known",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Malware,
        Self::Ransomware,
        Self::Phishing,
        Self::Unwanted,
        Self::Distribution,
        Self::CommandAndControl,
        Self::Spam,
        Self::BadCertificate,
        Self::Software,
        Self::Popular,
        Self::Test,
    ];

    /// The category with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its word in lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Malware => "malware",
            Self::Ransomware => "ransomware",
            Self::Phishing => "phishing",
            Self::Unwanted => "unwanted",
            Self::Distribution => "distribution",
            Self::CommandAndControl => "command and control",
            Self::Spam => "spam",
            Self::BadCertificate => "bad certificate",
            Self::Software => "software",
            Self::Popular => "popular",
            Self::Test => "test",
        }
    }
}

/// Whole seconds, as many as 32 bits hold.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_verdict_on_the_wire_is_these_bytes() {
        let verdict = Verdict {
            reputation: Reputation::Malicious,
            category: Category::Phishing,
            confidence: 90,
            source: 0x0102,
            ttl: Duration::from_hours(24),
            age: Duration::from_secs(7),
            stale: true,
            partial: false,
        };
        assert_eq!(HEXLOWER.encode(&verdict.pack()), "01035a01010200000001518000000007");
        assert_eq!(Verdict::unpack(&verdict.pack()), Ok(verdict));
    }

    #[test]
    fn numbers_without_meaning_are_refused() {
        let good = Verdict::unknown(Duration::ZERO).pack();
        for (at, number) in [(0, 6), (1, 12), (2, 101), (3, 4), (6, 1), (7, 1)] {
            let mut bad = good;
            bad[at] = number;
            assert_eq!(Verdict::unpack(&bad), Err(NoVerdict), "byte {at}");
        }
    }

    #[test]
    fn words_and_numbers_belong_together() {
        for (number, reputation) in (0..).zip(Reputation::ALL) {
            assert_eq!((reputation as u8, Reputation::from_number(number)), (number, Some(reputation)));
        }
        for (number, category) in (0..).zip(Category::ALL) {
            assert_eq!((category as u8, Category::from_number(number)), (number, Some(category)));
        }
    }

    proptest! {
        #[test]
        fn what_unpacks_packs_to_the_same_bytes(packed: [u8; 16]) {
            if let Ok(verdict) = Verdict::unpack(&packed) {
                prop_assert_eq!(verdict.pack(), packed);
            }
        }
    }
}
