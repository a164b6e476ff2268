//! The driver of a renewal: waits for its time, asks beside whatever else the agent does, and gives the answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::enroll::Enrolled;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::trust::Validity;
use klnet_wire::net::renew::{RenewError, renew};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::Agent;
use crate::clock::ServerClock;
use crate::discovery;
use crate::random::Random;
use crate::renewal::{Input, Output, Renewal};
use crate::state::Device;
use crate::unix::unix_now;

/// The renewals of one device's certificate.
#[derive(Debug)]
pub(super) struct Renewing {
    core: Renewal,
    /// Where in the time of renewal this device has its place.
    place: f64,
    asking: Option<JoinHandle<Result<Enrolled, RenewError>>>,
    /// Why the last attempt failed.
    pub(super) failure: Option<String>,
}

impl Renewing {
    pub(super) fn new(device: &Device, mut random: Random) -> Self {
        let place = random.below(1 << 20) as f64 / f64::from(1 << 20);
        let core = Renewal::new(Instant::now(), random, due(device, place));
        Self { core, place, asking: None, failure: None }
    }

    /// Waits for the next answer. Nothing is lost when it is not waited for any more.
    pub(super) async fn answer(
        &mut self,
        device: &Device,
        crls: &Arc<Crls>,
        clock: &ServerClock,
    ) -> Result<Enrolled, RenewError> {
        loop {
            if let Some(Output::Renew) = self.core.poll_output() {
                let (client, Device { identity, trust, .. }) =
                    (discovery::client(device, crls)?, device.clone());
                self.asking = Some(tokio::spawn(async move { renew(&client, &identity, &trust).await }));
            }
            if let Some(asking) = &mut self.asking {
                let answer = asking.await.expect("asking for a certificate does not panic");
                self.asking = None;
                return answer;
            }
            let deadline = self.core.poll_timeout().unwrap_or_else(Instant::now);
            sleep_until(deadline.into()).await;
            let now = Instant::now();
            self.core.handle_timeout(now, clock.unix(now, SystemTime::now()));
        }
    }

    /// The device has this certificate now, or other roots.
    pub(super) fn done(&mut self, device: &Device) {
        let due = due(device, self.place);
        self.failure = None;
        self.core.handle_input(Instant::now(), Input::Renewed { due });
    }

    /// There is no new certificate; it is asked for again.
    pub(super) fn failed(&mut self, reason: String) {
        self.failure = Some(reason);
        self.core.handle_input(Instant::now(), Input::Failed);
    }
}

impl Agent {
    /// Takes a new certificate; says whether there is one. Until it is stored the old one is used, and is good.
    pub(super) fn renewed(&mut self, renewed: Result<Enrolled, RenewError>) -> bool {
        let taken =
            renewed.map_err(|error| error.to_string()).and_then(|renewed| self.take_certificate(renewed));
        match taken {
            Ok(()) => {
                tracing::info!("the device has a new certificate");
                self.renewing.done(&self.device);
                true
            }
            Err(reason) => {
                tracing::warn!(%reason, "the certificate is not renewed; it is tried again");
                self.renewing.failed(reason);
                false
            }
        }
    }

    fn take_certificate(&mut self, renewed: Enrolled) -> Result<(), String> {
        let identity = Identity { chain: renewed.chain, key: self.device.identity.key.clone() };
        self.folder.save_chain(&identity.chain).map_err(|error| error.to_string())?;
        (self.device.identity, self.device.principal) = (identity, renewed.principal);
        self.configure()
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// When the device's certificate is renewed; at once when it is of before the last rotations, or cannot be read.
fn due(device: &Device, place: f64) -> u64 {
    let root = device.identity.chain.last();
    if root != Some(device.trust.root()) {
        let known = root.is_some_and(|root| device.trust.roots().contains(root));
        let place = Duration::from_secs_f64(place * ROTATION_SPREAD.as_secs_f64());
        return if known { unix_now().saturating_add(place.as_secs()) } else { 0 };
    }
    let validity = device.identity.chain.first().map(Validity::of);
    validity.and_then(Result::ok).map_or(0, |validity| validity.renewal(place))
}

/// Over how long a fleet renews whose fabric has another root.
const ROTATION_SPREAD: Duration = Duration::from_secs(24 * 3600);
