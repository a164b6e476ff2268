//! Asks discovery once a day for what the fabric has signed meanwhile, beside whatever else the agent does: an agent that
//! is connected for months has fresh lists when it needs them.

use std::time::Duration;

use klnet_wire::net::https::{ApiError, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::discovery::{self, Discovered, DiscoveryError};
use crate::random::Random;

/// The daily question.
#[derive(Debug)]
pub(super) struct Refreshing {
    next: Instant,
    random: Random,
    asking: Option<JoinHandle<Result<Discovered, DiscoveryError>>>,
}

impl Refreshing {
    pub(super) fn new(mut random: Random) -> Self {
        let next = Instant::now() + random.part_of(EACH);
        Self { next, random, asking: None }
    }

    /// Waits for the next answer. Nothing is lost when it is not waited for any more.
    pub(super) async fn answer(
        &mut self,
        client: impl Fn() -> Result<Client, ApiError>,
    ) -> Result<Discovered, DiscoveryError> {
        loop {
            if let Some(asking) = &mut self.asking {
                let answer = asking.await.expect("asking does not panic");
                self.asking = None;
                self.next = Instant::now() + EACH / 2 + self.random.part_of(EACH);
                return answer;
            }
            sleep_until(self.next).await;
            // Whatever comes of it, not again at once.
            self.next = Instant::now() + EACH;
            let client = client()?;
            self.asking = Some(tokio::spawn(async move { discovery::ask(&client).await }));
        }
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// How often on average: several times in the life of a revocation list.
const EACH: Duration = Duration::from_secs(24 * 3600);
