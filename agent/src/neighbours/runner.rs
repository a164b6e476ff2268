//! The task: one loop over links, datagrams and time.

use std::io;
use std::time::{Instant, SystemTime};

use klnet_discovery::fact::{Claim, Fact, Source};
use klnet_discovery::net::{Link, own_links};
use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Interval, MissedTickBehavior, interval, sleep_until};

use super::core::{Neighbourhood, Output};
use super::link::{Datagram, Sockets, owns};
use super::{News, Told};
use crate::random::Random;

pub(super) struct Runner {
    told: watch::Receiver<Told>,
    tell: mpsc::Sender<News>,
    port: u16,
    core: Neighbourhood,
    sockets: Sockets,
    links: Vec<Link>,
    hear: mpsc::Sender<Datagram>,
    heard: mpsc::Receiver<Datagram>,
    /// Why not everything could be opened, as it was said last.
    failure: String,
    looks: Interval,
}

impl Runner {
    pub(super) fn new(
        told: watch::Receiver<Told>,
        tell: mpsc::Sender<News>,
        port: u16,
        random: Random,
    ) -> Self {
        let speaker = told.borrow().speaker.clone();
        let core = Neighbourhood::new(Instant::now(), speaker, random);
        let (hear, heard) = mpsc::channel(DATAGRAMS);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (sockets, links, failure) = Default::default();
        Self { told, tell, port, core, sockets, links, hear, heard, failure, looks }
    }

    pub(super) async fn run(mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.put_out(output).await;
            }
            let deadline = self.core.poll_timeout();
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => {
                        let speaker = self.told.borrow_and_update().speaker.clone();
                        self.core.identify(speaker);
                    }
                    Err(_) => return,
                },
                _ = self.looks.tick() => self.look().await,
                Some(datagram) = self.heard.recv() => self.hear(&datagram),
                () = sleep_until(deadline.into()) => {
                    let wall = self.wall();
                    self.core.handle_timeout(Instant::now(), wall);
                }
            }
        }
    }

    fn hear(&mut self, Datagram { from, bytes }: &Datagram) {
        let wall = self.wall();
        if let Err(reason) = self.core.handle_input(Instant::now(), wall, *from, bytes) {
            tracing::trace!(%reason, %from, "a datagram is no news of a neighbour");
        }
    }

    async fn put_out(&self, output: Output) {
        match output {
            Output::Send(own, bytes) => self.sockets.send(own, &bytes).await,
            Output::Heard(address) => {
                let (claim, seen) = (Claim::Alive { rtt: None, hops: None }, SystemTime::now());
                // It is heard again.
                let _ = self.tell.try_send(News::Heard(Fact { address, claim, source: Source::Agent, seen }));
            }
            // Without an agent nobody is to know.
            Output::Stand(neighbours) => drop(self.tell.send(News::Stand(neighbours)).await),
        }
    }

    /// Looks which links there are, and opens sockets anew where those are others than before, or could not be opened.
    async fn look(&mut self) {
        let links = match own_links().await {
            Ok(links) => links,
            Err(error) => return tracing::debug!(%error, "the links of this device are not known"),
        };
        let wanted = links.iter().flat_map(owns).collect();
        if links == self.links && self.sockets.own() == wanted {
            return;
        }
        // The old ones have the ports.
        self.sockets.close().await;
        let (sockets, failed) = Sockets::open(&links, self.port, &self.hear);
        self.core.present(sockets.own());
        (self.sockets, self.links) = (sockets, links);
        self.failed(failed);
    }

    fn failed(&mut self, error: Option<io::Error>) {
        let reason = error.map(|error| error.to_string()).unwrap_or_default();
        if !reason.is_empty() && reason != self.failure {
            let port = self.port;
            tracing::warn!(%reason, port, "not every neighbour can be told of this device; it is tried again");
        }
        self.failure = reason;
    }

    /// The fabric's time: devices whose own clocks are wrong hear each other.
    fn wall(&self) -> UnixTime {
        let seconds = self.told.borrow().clock.unix(Instant::now(), SystemTime::now());
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }
}

/// Datagrams that wait to be looked at.
const DATAGRAMS: usize = 64;
/// How often it is looked which links there are.
const LOOK: Duration = Duration::from_secs(30);
