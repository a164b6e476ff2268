//! Why the command failed, and the exit code that says so to scripts.

use std::io;

use klnet_multicast::net::ObjectError;
use klnet_wire::identity::authority::IssueError;
use klnet_wire::identity::enroll::EnrollError;
use klnet_wire::identity::profile::ProfileError;
use klnet_wire::net::https::ApiError;

use crate::invitation::NotAnInvitation;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Invitation(#[from] NotAnInvitation),
    #[error("there is no profile: log in with `klctl login`, or name one with --profile")]
    NoProfile,
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Reply(#[from] EnrollError),
    #[error("cannot ask for a certificate: {0}")]
    Request(#[from] IssueError),
    #[error("{0}")]
    NotFound(String),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Invitation(_) => USAGE,
            // Looking a name up is a question to the server, and "there is none" is its answer.
            Self::Api(ApiError::Refused { .. }) | Self::NotFound(_) => REFUSED,
            Self::Api(ApiError::Url(_)) => USAGE,
            Self::Api(ApiError::Dial(_) | ApiError::Timeout(_) | ApiError::Broken(_)) => UNREACHABLE,
            _ => FAILED,
        }
    }
}

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_apart_who_said_no() {
        let refused = ApiError::Refused { status: 403, message: String::new() };
        assert_eq!(Failure::from(refused).exit_code(), REFUSED);
        assert_eq!(Failure::from(ApiError::Broken(String::new())).exit_code(), UNREACHABLE);
        assert_eq!(Failure::from(ApiError::Url(String::new())).exit_code(), USAGE);
        assert_eq!(Failure::NoProfile.exit_code(), FAILED);
    }
}
