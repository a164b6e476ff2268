//! Why the command failed, and the exit code that says so to scripts.

use std::io;

use crate::net::PollError;
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
            Self::Poll(PollError::NoRoute(_)) | Self::NoInterface => UNREACHABLE,
            _ => FAILED,
        }
    }
}

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const UNREACHABLE: u8 = 4;
