//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use klnet_wire::net::https::ApiError;

use crate::agent::AgentError;
use crate::enroll::EnrollError;

/// The exit code of an error: 1 failed, 3 refused by the server, 4 not reachable (2 is wrong usage).
pub(super) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let api = match error.downcast_ref::<EnrollError>() {
        Some(EnrollError::Api(api)) => Some(api),
        _ => None,
    };
    let banned = matches!(error.downcast_ref(), Some(AgentError::Banned(_)));
    ExitCode::from(match api {
        _ if banned => REFUSED,
        Some(ApiError::Refused { .. }) => REFUSED,
        Some(ApiError::Dial(_) | ApiError::Timeout(_) | ApiError::Broken(_)) => UNREACHABLE,
        _ => FAILED,
    })
}

/// It did not work.
pub(super) const FAILED: u8 = 1;
/// The server refuses.
const REFUSED: u8 = 3;
/// The server was not reached.
const UNREACHABLE: u8 = 4;
