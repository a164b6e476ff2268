//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use klnet_wire::net::https::ApiError;

use crate::agent::AgentError;
use crate::discovery::DiscoveryError;
use crate::enroll::EnrollError;
use crate::mover::MoveError;
use crate::state::StateError;

/// The exit code of an error: 1 failed, 3 refused by the server, 4 not reachable, 5 key unusable (2 is wrong usage).
pub(super) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let moved = error.downcast_ref::<MoveError>();
    let enrolled = match moved {
        Some(MoveError::Enroll(enrolled)) => Some(enrolled),
        _ => error.downcast_ref::<EnrollError>(),
    };
    let api = match (enrolled, moved) {
        (Some(EnrollError::Api(api)), _) => Some(api),
        (_, Some(MoveError::Standing(api) | MoveError::Discovery(DiscoveryError::Api(api)))) => Some(api),
        _ => None,
    };
    let state = match (enrolled, moved, error.downcast_ref()) {
        (Some(EnrollError::State(state)), ..) | (_, Some(MoveError::State(state)), _) => Some(state),
        (.., Some(AgentError::State(state))) => Some(state),
        _ => None,
    };
    let keyless = matches!(state, Some(StateError::Key(_) | StateError::NoToken(_)));
    let unreached = matches!(moved, Some(MoveError::Control(_) | MoveError::WentBack(_)));
    let banned = matches!(error.downcast_ref(), Some(AgentError::Banned(_)));
    ExitCode::from(match api {
        _ if banned => REFUSED,
        _ if unreached => UNREACHABLE,
        _ if keyless => KEYLESS,
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
/// The device's key is in a token that does not let it be made or used now.
pub(super) const KEYLESS: u8 = 5;
