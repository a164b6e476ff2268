//! The relay's decisions: which first flights belong together.

mod config;
mod input;
mod output;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::grant::Grant;
use crate::label::LabelSecret;

pub use config::{CLOCK_SKEW, Config, INITIATOR_WAIT, Limits, SPARE_LIFE, VERIFY_WAIT};
pub use input::{Input, Scope};
pub use output::{Output, PairView, RefusedHello, RelayRecord, TunnelView};

/// Joins initiators and dial-backs by labels and cookies; never sees what they say.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    outputs: VecDeque<Output>,
}

/// Why a grant is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// For another server's relay.
    #[error("the grant is for another server")]
    Audience,
    /// It has a route, which this version does not serve.
    #[error("the grant has a route of further hops, which this relay does not serve")]
    Route,
    /// Its time to start is over.
    #[error("the grant is over")]
    Expired,
    /// It was minted later than now.
    #[error("the grant was minted in the future")]
    Future,
    /// The device has no control connection.
    #[error("the device is offline")]
    Offline,
    /// It is for another session of the device.
    #[error("the grant is for another session of the device")]
    Epoch,
    /// It was admitted before.
    #[error("the grant was admitted before")]
    Replayed,
    /// As many as may be are live.
    #[error("as many grants are live as one {0} may have")]
    TooMany(&'static str),
}

impl Relay {
    /// Makes a relay without grants.
    pub fn new(config: Config) -> Self {
        Self { config, outputs: VecDeque::new() }
    }

    /// Takes a grant at mint and asks its device for a dial-back ahead of need.
    ///
    /// # Errors
    /// [`AdmitError`], and nothing was changed.
    pub fn admit(
        &mut self,
        now: Instant,
        now_unix: u64,
        grant: Arc<Grant>,
        secret: LabelSecret,
    ) -> Result<(), AdmitError> {
        let _ = (now, now_unix, grant, secret, &self.config);
        Ok(())
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let _ = (now, input);
    }

    /// Ends everything whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Relay::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The live grants and their connections.
    pub fn tunnels(&self) -> impl Iterator<Item = TunnelView> {
        std::iter::empty()
    }
}
