//! Revisions, operation ids, and the incarnation they belong to.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

/// A store-wide revision: one per commit, strictly rising, never reused within an [`Incarnation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev(pub u64);

/// Names one commit across its retries. Ids of two principals never meet, so nobody can learn or spoil the outcome of
/// another's commit by guessing its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpId {
    /// On whose behalf: a device, an operator, or zeroes for the server itself.
    pub principal: [u8; 16],
    /// Chosen by them.
    pub id: [u8; 16],
}

/// Names one lease; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub [u8; 16]);

/// Names one history of a store; revisions of two incarnations do not compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl Rev {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl OpId {
    /// Draws a fresh id of the server itself; keep it for the retries. It begins with the time in milliseconds: ids made one
    /// after the other lie side by side in an index, where each of them would otherwise dirty a page of its own.
    ///
    /// # Panics
    /// When the system has no random source.
    pub fn random() -> Self {
        let mut id: [u8; 16] = random();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // The low 48 bits, which last for some thousand years; what is random behind them tells ids apart.
        id[..6].copy_from_slice(&now.to_be_bytes()[10..]);
        Self { principal: [0; 16], id }
    }
}

impl LeaseId {
    pub(super) fn random() -> Self {
        Self(random())
    }
}

impl Incarnation {
    pub(super) fn random() -> Self {
        Self(random())
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source answers once it has started");
    bytes
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", HEXLOWER.encode(&self.principal), HEXLOWER.encode(&self.id))
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({self})")
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}
