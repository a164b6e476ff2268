//! A device that behaves, and a tunnel through it: whoever attacks the server must not be felt here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use super::{Device, Redeemed, Stage, Target, echoes, held, percentile, redeem};

pub(crate) struct Neighbour {
    pub(crate) device: Device,
    pub(crate) target: Target,
    done: Arc<AtomicBool>,
    echoes: JoinHandle<Result<Vec<Duration>>>,
}

/// What the neighbour felt.
pub(crate) struct Felt {
    pub(crate) echoes: usize,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Neighbour {
    /// Enrols a device and keeps an echo going through a tunnel to it.
    pub(crate) async fn start(stage: &Stage) -> Result<Self> {
        let (device, target) = (stage.device("neighbour").await?, Target::start().await?);
        let blob = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            anyhow::bail!("the neighbour's tunnel does not open")
        };
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let echoes = tokio::spawn(async move {
            let mut took = Vec::new();
            // Paced: it is there to feel the load, not to make one.
            let mut pace = tokio::time::interval(PACE);
            while !ended.load(Ordering::Relaxed) {
                pace.tick().await;
                took.push(echoes(&mut stream, &[7; 64]).await?);
            }
            Ok(took)
        });
        Ok(Self { device, target, done, echoes })
    }

    /// Ends the echo; fails when any was lost, the device was offline or had to connect again.
    pub(crate) async fn finish(self, stage: &Stage) -> Result<Felt> {
        self.done.store(true, Ordering::Relaxed);
        let mut took = self.echoes.await?.context("the neighbour's tunnel broke")?;
        ensure!(stage.is_online("neighbour").await, "the neighbour is offline: {}", self.device.log());
        let connected = self.device.log().matches(" connected ").count();
        ensure!(connected == 1, "the neighbour connected {connected} times: {}", self.device.log());
        let (median, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        Ok(Felt { echoes: took.len(), median, p99 })
    }

    /// Descriptors of the server and of the neighbour's agent, to be held against later.
    pub(crate) fn descriptors(&self, stage: &Stage) -> Result<[(u32, usize); 2]> {
        let of = |process| Ok::<_, anyhow::Error>((process, held(process)?));
        Ok([of(stage.server_id())?, of(self.device.agent_id())?])
    }
}

impl std::fmt::Display for Felt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { echoes, median, p99 } = self;
        write!(f, "neighbour: {echoes} echoes, median {median:.1?}, p99 {p99:.1?}, 0 lost, connected once")
    }
}

const PACE: Duration = Duration::from_millis(5);
