//! Why the command failed, and its exit code.

use std::io;

use klnet_wire::net::https::ApiError;

use super::config::ConfigError;
use crate::asked::NotAsked;
use crate::cli::identity::IdentityError;
use crate::net::client::AskError;
use crate::net::service::StartError;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Asked(#[from] NotAsked),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{proxy} does not answer: {error}")]
    Silent { proxy: String, error: AskError },
    #[error("cannot write: {0}")]
    Output(io::Error),
    #[error("{0} shows no metrics: {1}")]
    Metrics(std::net::SocketAddr, io::Error),
    #[error("cannot run: {0}")]
    System(io::Error),
}

impl Failure {
    /// Names the proxy in what would not tell whose socket failed.
    pub(super) fn of(self, proxy: &str) -> Self {
        match self {
            Self::Ask(error @ (AskError::Io(_) | AskError::Timeout(_))) => {
                Self::Silent { proxy: proxy.to_owned(), error }
            }
            failure => failure,
        }
    }

    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Asked(_) | Self::Config(_) => USAGE,
            Self::Ask(AskError::Refused(_) | AskError::Https(ApiError::Refused { .. })) => REFUSED,
            Self::Ask(
                AskError::Dial(_)
                | AskError::Timeout(_)
                | AskError::Io(_)
                | AskError::Https(ApiError::Dial(_) | ApiError::Timeout(_)),
            )
            | Self::Silent { .. }
            | Self::Metrics(..) => UNREACHABLE,
            _ => FAILED,
        }
    }
}

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const UNREACHABLE: u8 = 4;
