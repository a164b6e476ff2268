//! What is asked about: hashes of files, the same for everybody.

use klnet_ksnproxy::subject::{Digest, Key, Subject};

use crate::sim::Rng;

/// The SHA-256 of the file of this number.
pub(super) fn digest(number: u32) -> Digest {
    let mut hash = [0; 32];
    Rng::new(number.into()).fill(&mut hash);
    Digest::Sha256(hash)
}

/// What it is looked up by here.
pub(super) fn key(number: u32) -> Key {
    Subject::File(digest(number), None).key()
}

/// The same in 32 hexadecimal digits, for whoever looks up names.
pub(super) fn name(number: u32) -> String {
    data_encoding::HEXLOWER.encode(&key(number).bytes)
}

/// Numbers below a bound, drawn or in turn.
#[derive(Debug)]
pub(super) struct Draw {
    bound: u32,
    rng: Option<Rng>,
    next: u32,
}

impl Draw {
    /// Any of them.
    pub(super) fn any(bound: u32) -> Self {
        Self { bound, rng: Some(Rng::new(1)), next: 0 }
    }

    /// One after the other, over and over.
    pub(super) const fn in_turn(bound: u32) -> Self {
        Self { bound, rng: None, next: 0 }
    }

    pub(super) fn next(&mut self) -> u32 {
        match &mut self.rng {
            Some(rng) => u32::try_from(rng.below(self.bound.into())).unwrap_or(0),
            None => {
                self.next = (self.next + 1) % self.bound;
                self.next
            }
        }
    }
}
