//! The agent's part in distribution: it receives objects from its distribution point, and may be one.
//!
//! ```text
//! DUTIES ─▶ Distribution ─▶ Receiving ── UDP 15001 ─▶ received/          one thread
//!                │               └─ silent for too long, or for few ─▶ Fallback ── HTTPS, the point's 13000 ─▶ received/
//!                └─ is a point ─▶ Bringing ── HTTPS, the server's ─▶ brought/ ─▶ multicast, Files (13000)
//! DELIVERY, POINT_STATE ◀─ messages
//! ```
//! An object comes by one way at a time: while it is fetched nothing else writes into the folder. What both ways bring is
//! verified by the same code, block by block, and resumed where it was cut off. Keys live in memory only.

mod bringing;
mod due;
mod fallback;
mod files;
mod object;
mod place;
mod receiving;
mod runner;
mod sending;
mod shown;
mod strangers;
mod wares;

use std::path::PathBuf;
use std::sync::Arc;

use klnet_wire::duties::Duties;
use klnet_wire::identity::crl::Crls;
use klnet_wire::message::Message;
use klnet_wire::signed::PublicKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::Ports;
use crate::state::Device;
use place::Place;
use runner::Runner;
pub use shown::{Group, ObjectShown, Shown};

/// What a device receives and brings. Ends when it is dropped.
#[derive(Debug)]
pub struct Distribution {
    place: Arc<Place>,
    told: watch::Sender<Told>,
    news: mpsc::Receiver<News>,
    task: JoinHandle<()>,
}

/// What comes of it.
#[derive(Debug)]
pub enum News {
    /// The server is to know this.
    Say(Message),
    /// It stands otherwise than before.
    Stands(Shown),
}

/// What the device was told to do.
#[derive(Debug, Clone, Default)]
struct Told {
    duties: Duties,
    /// Who signs objects.
    signers: Vec<PublicKey>,
    /// Counts sessions: everything is told to the server again in each.
    session: u64,
}

impl Distribution {
    /// Waits to be told, on the current runtime.
    pub fn start(
        device: &Device,
        crls: &Arc<Crls>,
        folder: PathBuf,
        announcer: klnet_wire::signing::SigningKey,
        ports: Ports,
    ) -> Self {
        let (device, crls) = (device.clone(), Arc::clone(crls));
        let place = Arc::new(Place::new(device, crls, folder, announcer, ports));
        let (told, duties) = watch::channel(Told::default());
        let (tell, news) = mpsc::channel(NEWS);
        let task = tokio::spawn(Runner::new(Arc::clone(&place), tell).run(duties));
        Self { place, told, news, task }
    }

    /// The device has another certificate, or knows other roots, from now on.
    pub fn identify(&self, device: &Device) {
        self.place.identify(device.clone());
    }

    /// A session has begun: whatever is known is told in it.
    pub fn connected(&self) {
        self.told.send_modify(|told| told.session += 1);
    }

    /// Does this from now on, and nothing of what was told before.
    pub fn told(&self, duties: Duties, signers: Vec<PublicKey>) {
        self.told.send_modify(|told| (told.duties, told.signers) = (duties, signers));
    }

    /// What is new. A message without a session may be dropped: all is told again in the next.
    pub async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // Its task has failed, which was logged; the agent goes on without it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// More than the results of all objects that a device may be told of.
const NEWS: usize = 64;
