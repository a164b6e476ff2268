//! Why the command failed, and the exit code that says so to scripts.

use std::io;
use std::time::Duration;

use klnet_wire::identity::profile::ProfileError;
use klnet_wire::net::dial::DialError;
use klnet_wire::net::https::ApiError;

use super::target::TargetError;
use super::terms::spelled;
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
    #[error("no connection within {}", spelled(*.0))]
    Late(Duration),
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
    /// Whether waiting may help: the network or the other end is away, and comes back.
    pub(super) fn may_heal(&self) -> bool {
        match self {
            Self::Api(ApiError::Dial(DialError::Certificate { .. })) => false,
            Self::Api(ApiError::Dial(_) | ApiError::Timeout(_) | ApiError::Broken(_)) => true,
            // The device is offline, or somebody has too many of something.
            Self::Api(ApiError::Refused { status, .. }) => *status == TOO_MANY_REQUESTS || *status >= 500,
            Self::Connect(error) => error.may_heal(),
            Self::Late(_) => true,
            _ => false,
        }
    }

    /// Whether the grant itself may be what is wrong.
    pub(super) const fn is_of_the_grant(&self) -> bool {
        matches!(self, Self::Connect(error) if error.wants_another_grant())
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Target(_) => USAGE,
            Self::Api(ApiError::Refused { .. }) => REFUSED,
            Self::Api(ApiError::Dial(_) | ApiError::Timeout(_) | ApiError::Broken(_)) => UNREACHABLE,
            Self::Connect(ConnectError::Unreachable { .. } | ConnectError::NoAnswer(_)) => UNREACHABLE,
            Self::Late(_) => UNREACHABLE,
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

/// RFC 6585, section 4.
const TOO_MANY_REQUESTS: u16 = 429;

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const UNREACHABLE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Refusal;

    #[test]
    fn a_server_that_breaks_off_was_not_reached() {
        assert_eq!(Failure::from(ApiError::Broken(String::new())).exit_code(), UNREACHABLE);
        assert_eq!(Failure::from(TargetError::Device).exit_code(), USAGE);
    }

    #[test]
    fn what_waiting_cannot_heal_is_not_waited_for() {
        let api = |status| Failure::from(ApiError::Refused { status, message: String::new() });
        assert!([429, 503].into_iter().all(|status| api(status).may_heal()));
        assert!(![400, 401, 403, 404, 409].into_iter().any(|status| api(status).may_heal()));
        let refused = |reason| Failure::from(ConnectError::Refused { reason, detail: String::new() });
        assert!([Refusal::Over, Refusal::TooMany].into_iter().all(|reason| refused(reason).may_heal()));
        let final_ones = [Refusal::Forbidden, Refusal::Unreachable, Refusal::Unresolved, Refusal::TimedOut];
        assert!(!final_ones.into_iter().any(|reason| refused(reason).may_heal()));
        assert!(Failure::from(ConnectError::NotJoined).may_heal());
        assert!(!Failure::from(ConnectError::WrongAgent).may_heal());
    }
}
