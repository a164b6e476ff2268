//! What a receiver tells of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::store::StoreError;
use crate::id::SessionId;
use crate::manifest::{Manifest, ManifestError};

/// What happened.
#[derive(Debug)]
pub enum ReceiveEvent {
    /// A session was opened.
    Opened {
        /// The session.
        session: SessionId,
        /// What it brings.
        manifest: Manifest,
        /// Who sends it.
        sender: SocketAddr,
    },
    /// So many bytes of its object are verified; told some times a second.
    Progress {
        /// The session.
        session: SessionId,
        /// What it brings.
        manifest: Manifest,
        /// Bytes verified.
        bytes: u64,
    },
    /// An object is in its place.
    Completed(Receipt),
    /// An object cannot be taken now; it is tried again.
    Failed {
        /// What it is.
        manifest: Manifest,
        /// Why.
        error: StoreError,
    },
    /// An object is not taken.
    Refused {
        /// Who sends it.
        sender: SocketAddr,
        /// Why.
        reason: Refusal,
    },
    /// A session is over.
    Closed {
        /// The session.
        session: SessionId,
        /// What it brought.
        manifest: Manifest,
        /// Whether it is in its place.
        complete: bool,
    },
}

/// Why an object is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its manifest is not that of somebody known.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is for others.
    #[error("{0:?} is for other devices")]
    Audience(String),
    /// It is too old to be taken.
    #[error("{0:?} has expired")]
    Expired(String),
    /// There is a newer one.
    #[error("{0:?} is older than what was received before")]
    Older(String),
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The object's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Where its files are.
    pub paths: Vec<PathBuf>,
    /// Symbols that were lost and restored.
    pub repaired: u32,
    /// Blocks that were there before.
    pub resumed: u32,
    /// How long it took.
    pub time: Duration,
}
