//! Why the command failed, and the exit code that says so to scripts.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::identity::IdentityError;
use crate::feed::FeedError;
use crate::snapshot::{SnapshotError, StoreError};

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{}: {error}", path.display())]
    Feed { path: PathBuf, error: FeedError },
    #[error("{0}")]
    Feeds(FeedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {error}", path.display())]
    Snapshot { path: PathBuf, error: SnapshotError },
    #[error("{}: {error}", path.display())]
    KeyFile { path: PathBuf, error: io::Error },
    #[error("{} is not a private key", path.display())]
    NotAKey { path: PathBuf },
    #[error("{0:?} is not a public key in hexadecimal digits")]
    PublicKey(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the identity is not usable: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot listen on {address}: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("cannot run: {0}")]
    System(io::Error),
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl Failure {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::PublicKey(_) => USAGE,
            Self::Feed { .. } | Self::Feeds(_) => REFUSED,
            _ => FAILED,
        }
    }
}

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
