//! Why the command failed, and the exit code that says so to scripts.

use std::io;
use std::path::PathBuf;

use crate::net::{ObjectError, ReceiveError, SendError};

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{}: {error}", path.display())]
    KeyFile { path: PathBuf, error: io::Error },
    #[error("{} is not {what}", path.display())]
    NotAKey { path: PathBuf, what: &'static str },
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("cannot list the network interfaces: {0}")]
    Interfaces(io::Error),
    #[error("no network interface has an address of the group's family; name one with --interface")]
    NoInterface,
    #[error("{}: {error}", path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl Failure {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            _ => FAILED,
        }
    }
}

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
/// Some receivers are not complete.
pub(super) const MISSING: u8 = 3;
/// Nobody came.
pub(super) const NOBODY: u8 = 4;
