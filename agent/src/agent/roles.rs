//! What a device is beside a target of tunnels. Each role is a task of its own, which is told what to do and tells what
//! came of it.

use std::sync::Arc;

use klnet_wire::duties::Duties;
use klnet_wire::identity::crl::Crls;
use klnet_wire::message::Message;
use klnet_wire::signed::PublicKey;

use crate::clock::ServerClock;
use crate::config::Ports;
use crate::distribution::{self, Distribution, Shown};
use crate::ksn::Ksn;
use crate::neighbours::{self, Neighbour, Neighbours};
use crate::polling::Polling;
use crate::random::Random;
use crate::state::{Device, Folder, StateError};

/// The roles of one device.
#[derive(Debug)]
pub(super) struct Roles {
    distribution: Distribution,
    polling: Polling,
    ksn: Ksn,
    neighbours: Neighbours,
}

/// What came of one.
pub(super) enum News {
    /// The server is to know this.
    Say(Message),
    /// Distribution stands otherwise than before.
    Distribution(Shown),
    /// These neighbours are there, and nobody else.
    Neighbours(Vec<Neighbour>),
}

impl Roles {
    /// They wait to be told, on the current runtime.
    pub(super) fn start(
        device: &Device,
        crls: &Arc<Crls>,
        folder: &Folder,
        ports: Ports,
        random: Random,
    ) -> Result<Self, StateError> {
        let (path, announcer) = (folder.path().to_owned(), folder.announcer()?);
        Ok(Self {
            distribution: Distribution::start(device, crls, path, announcer, ports),
            polling: Polling::start(),
            ksn: Ksn::start(device, crls, ports),
            neighbours: Neighbours::start(device, crls, ports.neighbours, random),
        })
    }

    /// Waits for the next news. Nothing is lost when it is not waited for any more.
    pub(super) async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                message = self.polling.message() => return News::Say(message),
                message = self.ksn.message() => return News::Say(message),
                news = self.distribution.news() => return match news {
                    distribution::News::Say(message) => News::Say(message),
                    distribution::News::Stands(shown) => News::Distribution(shown),
                },
                news = self.neighbours.news() => match news {
                    neighbours::News::Heard(fact) => self.polling.heard(fact),
                    neighbours::News::Stand(neighbours) => return News::Neighbours(neighbours),
                },
            }
        }
    }

    /// The server wants this of the device; objects are signed by one of `signers`.
    pub(super) fn told(&self, mut duties: Duties, signers: Vec<PublicKey>) {
        self.polling.told(duties.polling.take());
        self.ksn.told(duties.ksn.take());
        self.distribution.told(duties, signers);
    }

    /// There is another session, in which everything is told anew.
    pub(super) fn connected(&self) {
        self.distribution.connected();
        self.polling.connected();
        self.ksn.connected();
    }

    /// The device has another certificate, or knows other roots.
    pub(super) fn identify(&self, device: &Device, crls: &Arc<Crls>) {
        self.distribution.identify(device);
        self.ksn.identify(device);
        self.neighbours.identify(device, crls);
    }

    /// The server's clock is believed to show this.
    pub(super) fn clock(&self, clock: ServerClock) {
        self.neighbours.clock(clock);
    }
}
