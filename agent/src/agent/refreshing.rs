//! The driver of the questions to discovery: waits for their time, asks beside whatever else the agent does, and gives the
//! answer.

use std::time::{Duration, Instant};

use klnet_wire::net::https::{ApiError, Client};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::discovery::{self, Discovered, DiscoveryError};
use crate::random::Random;
use crate::refresh::{Input, Output, Refresh};

/// The questions of one agent that is there already.
#[derive(Debug)]
pub(super) struct Refreshing {
    core: Refresh,
    asking: Option<JoinHandle<Result<Discovered, DiscoveryError>>>,
}

impl Refreshing {
    pub(super) fn new(random: Random) -> Self {
        Self { core: Refresh::new(Instant::now(), random), asking: None }
    }

    /// Waits for the next answer. Nothing is lost when it is not waited for any more.
    pub(super) async fn answer(
        &mut self,
        client: impl Fn() -> Result<Client, ApiError>,
    ) -> Result<Discovered, DiscoveryError> {
        loop {
            if let Some(Output::Ask) = self.core.poll_output() {
                let client = client()?;
                self.asking = Some(tokio::spawn(async move { discovery::ask(&client).await }));
            }
            if let Some(asking) = &mut self.asking {
                let answer = asking.await.expect("asking does not panic");
                self.asking = None;
                return answer;
            }
            let deadline = self.core.poll_timeout().unwrap_or_else(Instant::now);
            sleep_until(deadline.into()).await;
            self.core.handle_timeout(Instant::now());
        }
    }

    /// There is a newer revocation list than those that are known; it is asked for after a random part of `within`.
    pub(super) fn behind(&mut self, within: Duration) {
        self.core.handle_input(Instant::now(), Input::Behind { within });
    }

    /// The answer was taken.
    pub(super) fn done(&mut self) {
        self.core.handle_input(Instant::now(), Input::Answered);
    }

    /// There is none that could be taken; it is asked again.
    pub(super) fn failed(&mut self) {
        self.core.handle_input(Instant::now(), Input::Failed);
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}
