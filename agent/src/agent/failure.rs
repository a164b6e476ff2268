//! Why there is no session, what is said of it, and whether a clock is to blame.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use klnet_wire::identity::ChainError;
use klnet_wire::net::dial::DialError;
use klnet_wire::net::https::ApiError;
use klnet_wire::net::renew::is_of_unknown_root;
use klnet_wire::outbox::Full;
use klnet_wire::session::CloseReason;
use klnet_wire::signing::KeyError;

use super::Agent;
use crate::clock;
use crate::clock::measure::{self, MeasureError};
use crate::control::Unreachable;
use crate::directory::Candidate;
use crate::discovery::DiscoveryError;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSession {
    #[error("no server is known: {0}")]
    NoServers(DiscoveryError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("{0}")]
    OwnCertificate(String),
    #[error("this device's key cannot be used: {0}")]
    Key(#[from] KeyError),
    #[error("HELLO was not sent: {0}")]
    Greeting(Full),
    #[error("the server closed the connection before WELCOME: it may refuse this device's certificate")]
    NotWelcomed,
    #[error("{0}")]
    Ended(CloseReason),
    #[error("the server asked this agent to leave: {0}")]
    SentAway(String),
    #[error("this device no longer has the address {0}, from which it was connected")]
    Moved(IpAddr),
    #[error("this device has a new certificate")]
    Renewed,
}

impl NoSession {
    /// Whether a server shows a root that is not known here.
    pub(super) fn is_about_roots(&self) -> bool {
        match self {
            Self::NoServers(DiscoveryError::Api(ApiError::Dial(error))) => is_of_unknown_root(error),
            Self::Unreachable(Unreachable(errors)) => errors.iter().any(is_of_unknown_root),
            _ => false,
        }
    }
}

impl Agent {
    /// Why the device's own certificate keeps it away: a clock that is wrong, or a time that is over, which its renewal
    /// ends in its own time.
    pub(super) async fn unfit(&mut self, error: &ChainError) -> NoSession {
        self.measure_clock().await;
        let skew = self.clock.skew(Instant::now(), SystemTime::now());
        let words = match clock::is_about_time(error) {
            true => clock::explain("this device's certificate", error, skew),
            false => format!("this device's certificate is of before the fabric's last rotations: {error}"),
        };
        NoSession::OwnCertificate(match &self.renewing.failure {
            Some(failure) => format!("{words}; it is not renewed: {failure}"),
            None => words,
        })
    }

    /// Asks the server for its clock, which is nobody's word but says which of the two to look at.
    pub(super) async fn measure_clock(&mut self) {
        let Candidate { host, port } = self.device.host_and_port();
        match measure::skew(&host, port, &self.device.trust).await {
            Ok(skew) => self.told(skew),
            // Without them the renewal would not find its server either.
            Err(MeasureError::Dial(error)) if is_of_unknown_root(&error) => drop(self.follow().await),
            Err(error) => tracing::debug!(%error, "the server's clock is not known"),
        }
    }

    /// Says why there is no session: one warning for each outage, the rest for whoever looks closer.
    pub(super) fn failed(&mut self, error: &NoSession) {
        let reason = self.words(error);
        match self.outage.begins(Instant::now()) {
            true => tracing::warn!(%reason, "no connection to the server"),
            false => tracing::debug!(%reason, "still no connection to the server"),
        }
        let wait = self.backoff.poll_timeout().map(|next| next.saturating_duration_since(Instant::now()));
        match error {
            NoSession::Key(_) => self.status.keyless(reason, wait.unwrap_or_default()),
            _ => self.status.failed(reason, wait.unwrap_or_default()),
        }
    }

    fn words(&self, error: &NoSession) -> String {
        match about_time(error) {
            Some(error) => {
                let skew = self.clock.skew(Instant::now(), SystemTime::now());
                clock::explain("the server's certificate", error, skew)
            }
            None => error.to_string(),
        }
    }
}

/// Why the server's certificate was refused, when a clock may be to blame.
pub(super) fn about_time(error: &NoSession) -> Option<&ChainError> {
    let NoSession::Unreachable(Unreachable(errors)) = error else { return None };
    errors.iter().find_map(|error| match error {
        DialError::Certificate { error, .. } if clock::is_about_time(error) => Some(error),
        _ => None,
    })
}
