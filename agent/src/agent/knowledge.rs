//! What the device knows of its fabric: roots, keys, servers, and who is revoked.

use std::time::{Duration, Instant, SystemTime};

use klnet_wire::identity::Trust;
use klnet_wire::identity::enroll::unix;
use klnet_wire::message::Lists;
use klnet_wire::net::renew::newer_roots;
use klnet_wire::signed::Signed;

use super::Agent;
use crate::directory::Taken;
use crate::discovery::{self, Discovered, DiscoveryError};

impl Agent {
    /// Whether there is a fresh revocation list of every issuer.
    pub(super) fn knows_the_revoked(&self, now: SystemTime) -> bool {
        self.crls.are_fresh(&self.directory.issuers(), unix(now))
    }

    pub(super) async fn discover(&mut self) -> Result<(), DiscoveryError> {
        let client = discovery::client(&self.device, &self.crls)?;
        let discovered = discovery::ask(&client).await?;
        self.take(&discovered).await
    }

    async fn take(&mut self, discovered: &Discovered) -> Result<(), DiscoveryError> {
        self.take_keys(&discovered.keys).await?;
        discovery::take_crls(&self.crls, &self.folder, &self.directory.issuers(), &discovered.crls)?;
        self.take_servers(&discovered.servers)
    }

    /// The server has revocation lists of this number: they are asked for soon when those that are known are older.
    pub(super) fn told_of_lists(&mut self, lists: Lists) {
        if !self.crls.are_of(&self.directory.issuers(), lists.number) {
            self.refreshing.behind(Duration::from_millis(lists.within_ms.into()));
        }
    }

    /// Takes what was answered beside whatever else the agent does.
    pub(super) async fn refreshed(&mut self, discovered: Result<Discovered, DiscoveryError>) {
        let taken = match discovered {
            Ok(discovered) => self.take(&discovered).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => self.refreshing.done(),
            Err(error) => {
                tracing::debug!(%error, "nothing newer was discovered; it is asked again");
                self.refreshing.failed();
            }
        }
    }

    pub(super) fn take_servers(&mut self, servers: &Signed) -> Result<(), DiscoveryError> {
        let now = self.clock.unix(Instant::now(), SystemTime::now());
        discovery::take_servers(&mut self.directory, &self.folder, servers, now).map(|_| ())
    }

    pub(super) async fn take_keys(&mut self, keys: &Signed) -> Result<(), DiscoveryError> {
        let taken = discovery::take_keys(&mut self.directory, &self.folder, keys)?;
        if let (Taken::Newer, Some(keys)) = (taken, self.directory.keys().cloned()) {
            tracing::info!(version = keys.version, "the fabric has a newer key set");
            if let Err(reason) = self.configure() {
                tracing::warn!(%reason, "TLS is not configured anew");
            }
            // A target that has stopped ends the agent where its messages are read.
            let _ = self.tunnels.keys(keys).await;
        }
        Ok(())
    }

    /// Follows the fabric to its newest roots; says whether there are newer ones.
    pub(super) async fn follow(&mut self) -> bool {
        let followed = match newer_roots(&self.device.server, &self.device.trust).await {
            Ok(Some(trust)) => self.take_roots(trust),
            Ok(None) => Err("the fabric's lineage leads to no newer roots".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = &followed {
            tracing::debug!(%reason, "no newer roots");
            return false;
        }
        tracing::info!(version = self.device.trust.version(), "the fabric has other roots");
        if let Err(error) = self.discover().await {
            tracing::warn!(%error, "nothing is known yet of what the new root has signed");
        }
        true
    }

    fn take_roots(&mut self, trust: Trust) -> Result<(), String> {
        self.folder.save_trust(&trust).map_err(|error| error.to_string())?;
        self.directory.rooted(trust.root_keys());
        self.device.trust = trust;
        self.renewing.done(&self.device);
        self.configure()
    }
}
