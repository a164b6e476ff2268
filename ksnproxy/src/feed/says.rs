//! What a feed says of a subject.

use crate::verdict::{Category, Reputation};

/// What a feed says of a subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    pub(super) reputation: Reputation,
    pub(super) category: Category,
    pub(super) confidence: u8,
    pub(super) time: Option<u32>,
}

impl Says {
    pub(super) const fn malicious(category: Category, confidence: u8) -> Self {
        Self { reputation: Reputation::Malicious, category, confidence, time: None }
    }

    pub(super) const fn clean(category: Category, confidence: u8) -> Self {
        Self { reputation: Reputation::Clean, category, confidence, time: None }
    }

    pub(super) const fn at(self, time: Option<u32>) -> Self {
        Self { time, ..self }
    }
}
