//! The agent's part in discovery: it polls what it was told to, and tells the server which hosts there are.
//!
//! ```text
//! DUTIES ─▶ Polling ─▶ Runner ── one poll at a time ─▶ facts ─▶ Inventory ─▶ hosts ── paced ─▶ SIGHTINGS
//! ```
//! A host that a neighbour's beacon comes from is confirmed by that. Hosts are told after each poll, and again in each session; the server stores what is news to it.

mod hosts;
mod polls;
mod runner;

use std::net::IpAddr;

use klnet_discovery::fact::Fact;
use klnet_wire::duties;
use klnet_wire::message::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use runner::Runner;

/// Polls as it was told, until it is dropped.
#[derive(Debug)]
pub struct Polling {
    told: watch::Sender<Told>,
    heard: mpsc::Sender<Fact>,
    messages: mpsc::Receiver<Message>,
    task: JoinHandle<()>,
}

/// What it was told.
#[derive(Debug, Clone, Default)]
struct Told {
    polling: Option<duties::Polling>,
    /// Counts sessions: every host is told again in each.
    session: u64,
}

impl Polling {
    /// Waits to be told, on the current runtime.
    pub fn start() -> Self {
        let (told, tells) = watch::channel(Told::default());
        let (say, messages) = mpsc::channel(1);
        let (heard, facts) = mpsc::channel(HEARD);
        let task = tokio::spawn(Runner::new(say, facts).run(tells));
        Self { told, heard, messages, task }
    }

    /// A session has begun.
    pub fn connected(&self) {
        self.told.send_modify(|told| told.session += 1);
    }

    /// Polls this from now on, or nothing.
    pub fn told(&self, polling: Option<duties::Polling>) {
        self.told.send_if_modified(|told| {
            let is_news = told.polling != polling;
            told.polling = polling;
            is_news
        });
    }

    /// A neighbour was heard.
    pub fn heard(&self, fact: Fact) {
        // It is heard again.
        let _ = self.heard.try_send(fact);
    }

    /// The next message for the server. Without a session it may be dropped: all is told again in the next.
    pub async fn message(&mut self) -> Message {
        match self.messages.recv().await {
            Some(message) => message,
            // Its task has failed, which was logged; the agent goes on without it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Addresses at which this device is in a network with others.
fn own_addresses() -> impl Iterator<Item = std::net::Ipv4Addr> {
    let v4 = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let addresses = crate::platform::own_addresses().into_iter().filter_map(v4);
    addresses.filter(|address| !address.is_loopback() && !address.is_link_local())
}

/// Neighbours are heard about twice a second.
const HEARD: usize = 16;
