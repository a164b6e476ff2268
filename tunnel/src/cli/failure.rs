//! Why the command failed, and the exit code that says so to scripts.

use std::io;

use klnet_wire::identity::profile::ProfileError;
use klnet_wire::net::https::ApiError;

use super::target::TargetError;
use crate::blob::BlobError;
use crate::net::initiator::ConnectError;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("there is no profile: log in with `klctl login`, or name one with --profile")]
    NoProfile,
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("no grant: {0}")]
    Api(#[from] ApiError),
    #[error("the server's grant: {0}")]
    Reply(BlobError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen on {address}: {error}{}", advice(error))]
    Listen { address: String, error: io::Error },
    #[error("cannot run {program}: {error}")]
    Program { program: String, error: io::Error },
    #[error("cannot read the blob: {0}")]
    Input(io::Error),
    #[error("cannot write: {0}")]
    Output(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Target(_) => USAGE,
            Self::Api(ApiError::Refused { .. }) => REFUSED,
            Self::Api(ApiError::Dial(_) | ApiError::Timeout(_) | ApiError::Broken(_)) => UNREACHABLE,
            Self::Connect(ConnectError::Unreachable { .. } | ConnectError::NoAnswer(_)) => UNREACHABLE,
            Self::Connect(_) => REFUSED,
            _ => FAILED,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; choose another port with --local, or leave it out",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        _ => "",
    }
}

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const UNREACHABLE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_breaks_off_was_not_reached() {
        assert_eq!(Failure::from(ApiError::Broken(String::new())).exit_code(), UNREACHABLE);
        assert_eq!(Failure::from(TargetError::Device).exit_code(), USAGE);
    }
}
