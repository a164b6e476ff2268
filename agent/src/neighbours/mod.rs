//! Agents of one broadcast domain find each other: each says by broadcast and multicast that it is there, signed, and
//! nobody answers (`wire/PROTOCOL.md`, section 17).
//!
//! ```text
//!              every 30 s, look ─▶ Links ─▶ sockets ◀─▶ UDP 15000, 255.255.255.255 and ff12::6b6c:3a98
//!                                              │ datagrams
//!  Neighbours ─ identity, clock ─▶ Runner ─▶ Neighbourhood ─▶ who is there ─▶ status
//!                                                          └─ each beacon ──▶ Polling, where it confirms a host
//! ```

mod core;
mod link;
mod runner;

use std::sync::Arc;

use klnet_discovery::fact::Fact;
use klnet_wire::identity::crl::Crls;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::core::Speaker;
use crate::clock::ServerClock;
use crate::platform;
use crate::random::Random;
use crate::state::Device;
use runner::Runner;

/// Tells this device's neighbours of it and hears them, until it is dropped.
#[derive(Debug)]
pub struct Neighbours {
    told: watch::Sender<Told>,
    news: mpsc::Receiver<News>,
    task: Option<JoinHandle<()>>,
}

/// What comes of it.
#[derive(Debug)]
pub enum News {
    /// Somebody is there.
    Heard(Fact),
    /// These are there, and nobody else.
    Stand(Vec<Neighbour>),
}

/// Another agent of a network that this device is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its identifier.
    pub device: String,
    /// What it calls itself.
    pub name: String,
    /// Where it was heard from.
    pub addresses: Vec<String>,
}

/// As whom it speaks, and the fabric's time.
#[derive(Debug, Clone)]
struct Told {
    speaker: Speaker,
    clock: ServerClock,
}

impl Neighbours {
    /// Begins on the current runtime; with port 0 it tells nobody, and hears nobody.
    pub fn start(device: &Device, crls: &Arc<Crls>, port: u16, random: Random) -> Self {
        let speaker = speaker(device, crls);
        let (told, tells) = watch::channel(Told { speaker, clock: ServerClock::default() });
        let (tell, news) = mpsc::channel(NEWS);
        let task = (port != 0).then(|| tokio::spawn(Runner::new(tells, tell, port, random).run()));
        Self { told, news, task }
    }

    /// The device has another certificate, or knows other roots, from now on.
    pub fn identify(&self, device: &Device, crls: &Arc<Crls>) {
        self.told.send_modify(|told| told.speaker = speaker(device, crls));
    }

    /// The fabric's time is this.
    pub fn clock(&self, clock: ServerClock) {
        self.told.send_modify(|told| told.clock = clock);
    }

    /// What is new. Nothing is lost when it is not waited for any more.
    pub async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // It hears nobody, or its task has failed, which was logged; the agent goes on without it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

fn speaker(device: &Device, crls: &Arc<Crls>) -> Speaker {
    Speaker {
        principal: device.principal.clone(),
        identity: device.identity.clone(),
        trust: device.trust.clone(),
        crls: Arc::clone(crls),
        name: device.name.clone().unwrap_or_else(platform::host_name),
    }
}

/// The agent is busy now and then; what is heard meanwhile is heard again.
const NEWS: usize = 64;
