//! Why the command failed, and the exit code that says so to scripts.

use std::io;
use std::path::PathBuf;

use crate::net::{DirectoryError, PollError};
use crate::plan::PlanError;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("{0} addresses are more than a /16; add --yes when all of them are meant")]
    Large(u32),
    #[error(transparent)]
    Poll(#[from] PollError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("there is no certificate to know a directory by: give one with --ca")]
    NoRoots,
    #[error("no interface to listen on: give its address with --from")]
    NoInterface,
    #[error("cannot listen for announcements: {0}")]
    Listen(io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("cannot give up privileges: {0}")]
    Privileges(io::Error),
    #[error("cannot write: {0}")]
    Output(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Failure {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_) | Self::Large(_) => USAGE,
            Self::Directory(DirectoryError::Refused { .. }) => REFUSED,
            Self::Directory(DirectoryError::Connection { .. } | DirectoryError::Unknown { .. }) => {
                UNREACHABLE
            }
            Self::Poll(PollError::NoRoute(_)) | Self::NoInterface => UNREACHABLE,
            _ => FAILED,
        }
    }
}

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
