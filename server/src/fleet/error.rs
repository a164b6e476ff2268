//! Why the fleet did not do what it was asked.

use crate::store::{CommitError, ReadError};

/// A refusal or failure, with words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FleetError {
    kind: Kind,
    message: String,
}

/// What sort of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// Something else came first.
    Conflict,
    /// The caller may not.
    Denied,
    /// The caller's certificate was replaced by a newer one.
    Superseded,
    /// The request makes no sense.
    Invalid,
    /// A limit is reached.
    Limit,
    /// Not now.
    Unavailable,
}

impl FleetError {
    /// A refusal of this kind, with these words.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The caller may not.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Kind::Denied, message)
    }

    /// The request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<CommitError> for FleetError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => {
                Self::new(Kind::Conflict, "someone else changed this at the same time")
            }
            other => Self::new(Kind::Unavailable, format!("the change could not be stored: {other}")),
        }
    }
}

impl From<ReadError> for FleetError {
    fn from(error: ReadError) -> Self {
        Self::new(Kind::Unavailable, format!("the store cannot be read: {error}"))
    }
}
