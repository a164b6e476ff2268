//! Tunnels that are busy, each in its own way, while something happens to those who carry them.

mod bytes;
mod questions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use klnet_tunnel::net::initiator::{Connection, Initiator};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::stage::{Device, PATIENCE, Upgradable, eventually};
use bytes::{ask, flow, idle, stall};

pub(crate) use questions::Questions;

/// What one tunnel does while the server is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes flow both ways all the time.
    Flowing,
    /// Nothing flows.
    Idle,
    /// The question is asked and its end was passed on; the answer comes after.
    HalfClosed,
    /// Nobody reads: every buffer on the way is full.
    Stalled,
}

impl Kind {
    pub(crate) const fn of(at: usize) -> Self {
        match at {
            8 | 9 => Self::Stalled,
            _ => match at % 10 {
                0..6 => Self::Flowing,
                6..8 => Self::Idle,
                _ => Self::HalfClosed,
            },
        }
    }
}

/// Tunnels, each with what it does.
pub(crate) struct Load {
    tasks: JoinSet<Result<()>>,
    initiators: Vec<(u16, String, Initiator, usize)>,
    /// Says that the upgrade is over.
    over: watch::Sender<bool>,
    moved: Vec<Arc<AtomicU64>>,
    /// So that many of them do not want more than the machine has.
    pace: Duration,
}

impl Load {
    pub(crate) fn new(count: usize) -> Self {
        let pace = Duration::from_millis(u64::try_from(count / 5 + 1).unwrap_or(1));
        Self {
            tasks: JoinSet::new(),
            initiators: Vec::new(),
            over: watch::Sender::new(false),
            moved: Vec::new(),
            pace,
        }
    }

    /// Another connection of a grant that has room, or of a new one.
    pub(crate) async fn connect(
        &mut self,
        server: &Upgradable,
        device: &Device,
        port: u16,
    ) -> Result<Connection> {
        let found = self
            .initiators
            .iter_mut()
            .find(|(of, name, _, used)| *of == port && *name == device.name && *used < CONNECTIONS);
        let (_, _, initiator, used) = match found {
            Some(found) => found,
            None => {
                let blob = server.stage.grant(device, port).await?;
                let initiator = Initiator::new(blob, &server.stage.profile.identity.key);
                self.initiators.push((port, device.name.clone(), initiator, 0));
                self.initiators.last_mut().context("it is there")?
            }
        };
        *used += 1;
        Ok(initiator.connect().await?)
    }

    pub(crate) fn start(&mut self, connection: Connection, at: usize) {
        let (over, stream, pace) = (self.over.subscribe(), connection.stream, self.pace);
        let moved = Arc::new(AtomicU64::new(0));
        let kind = Kind::of(at);
        if kind == Kind::Flowing || kind == Kind::Stalled {
            self.moved.push(Arc::clone(&moved));
        }
        let task = async move {
            match kind {
                Kind::Flowing => flow(stream, over, &moved, pace).await,
                Kind::Idle => idle(stream, over).await,
                Kind::HalfClosed => ask(stream).await,
                Kind::Stalled => stall(stream, over, &moved).await,
            }
        };
        self.tasks.spawn(async move { task.await.with_context(|| format!("tunnel {at}, {kind:?}")) });
    }

    /// Waits until every tunnel does what it is to do.
    pub(crate) async fn flows(&self, questions: &Questions) -> Result<()> {
        eventually(PATIENCE, async || self.moved.iter().all(|moved| moved.load(Ordering::SeqCst) > 0))
            .await?;
        let asked = (0..self.tasks.len()).filter(|at| Kind::of(*at) == Kind::HalfClosed).count();
        eventually(PATIENCE, async || questions.asked() == asked).await?;
        Ok(())
    }

    /// The upgrade is over: everything ends in order, with every byte it ever sent.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.over.send_replace(true);
        while let Some(ended) = timeout(4 * PATIENCE, self.tasks.join_next()).await.context("they end")? {
            ended??;
        }
        Ok(())
    }
}

/// Connections of a grant.
const CONNECTIONS: usize = 16;
