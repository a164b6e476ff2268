//! Why an initiator has no connection, and what might help.

use std::io;

use crate::net::exchange::ExchangeError;
use crate::stream::Refusal;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No port of the relay could be reached.
    #[error("cannot reach the relay {relay}: {error}")]
    Unreachable {
        /// The relay's name and the last port tried.
        relay: String,
        /// What the network says.
        error: io::Error,
    },
    /// The relay closes alike for grants that are unknown, used, expired and revoked, and when the device is away.
    #[error(
        "the relay did not join the connection: the grant is used, expired or revoked, or the device is away"
    )]
    NotJoined,
    /// The other end has another key than the blob says.
    #[error("the other end is not the device of this grant: its key is another one")]
    WrongAgent,
    /// The inner handshake failed otherwise.
    #[error("the inner TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The connection ended before an answer: the agent takes only the key of the grant's own operator, and the relay
    /// cuts what turns out to be one connection too many.
    #[error(
        "closed before the device answered: the grant is for another operator's key, has all the connections it may \
         have, or has just ended"
    )]
    KeyRefused,
    /// The agent refuses, and says why.
    #[error("{}", refusal(*reason, detail))]
    Refused {
        /// For programs.
        reason: Refusal,
        /// For people.
        detail: String,
    },
    /// The agent broke the protocol or took too long.
    #[error("the device did not answer: {0}")]
    NoAnswer(ExchangeError),
}

impl ConnectError {
    /// Whether the same connection may come about later, perhaps with another grant: the network, the relay or the
    /// device is away, or others have all the connections.
    pub const fn may_heal(&self) -> bool {
        let again = matches!(self, Self::Refused { reason: Refusal::TooMany, .. });
        again || self.wants_another_grant() || matches!(self, Self::Unreachable { .. } | Self::NoAnswer(_))
    }

    /// Whether another grant for the same target may do better.
    pub const fn wants_another_grant(&self) -> bool {
        matches!(
            self,
            Self::NotJoined
                | Self::KeyRefused
                | Self::Refused { reason: Refusal::InUse | Refusal::WrongSession | Refusal::Over, .. }
        )
    }
}

fn refusal(reason: Refusal, detail: &str) -> String {
    match detail {
        "" => reason.to_string(),
        detail => format!("{reason}: {detail}"),
    }
}
