//! Where joined pairs run: each on a lane, with what it shares with others.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use klnet_wire::id::TenantId;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::Moved;
use super::parked::Parked;
use super::report::Report;
use crate::net::clock::now;
use crate::net::lanes::{Lanes, settle};
use crate::net::mover::{Bucket, Flow, Lifted, Means, Relayed, Stop};
use crate::pair::{EndReason, PairId, PairLimits};

/// Where and how pairs are moved.
#[derive(Debug)]
pub(super) struct Movers {
    pub(super) lanes: Lanes,
    pub(super) means: Arc<Means>,
    /// Most bytes per second of one tenant.
    pub(super) tenant_rate: Option<NonZeroU64>,
}

/// Starts the movers of pairs.
#[derive(Debug)]
pub(super) struct Yard {
    movers: Movers,
    /// Rates in use; one that no pair shares any more is forgotten.
    buckets: HashMap<TenantId, Weak<Bucket>>,
    reports: mpsc::Sender<Report>,
}

/// A joined pair while its mover runs.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) tenant: TenantId,
    pub(super) limits: PairLimits,
    /// Ends the mover; gone once used.
    pub(super) stop: Option<oneshot::Sender<Stop>>,
    pub(super) flow: Arc<Flow>,
}

/// What a pair's task works with.
struct Work {
    pair: PairId,
    limits: PairLimits,
    bucket: Option<Arc<Bucket>>,
    flow: Arc<Flow>,
    stop: oneshot::Receiver<Stop>,
}

impl Yard {
    pub(super) fn new(movers: Movers, reports: mpsc::Sender<Report>) -> Self {
        Self { movers, buckets: HashMap::new(), reports }
    }

    /// Takes both sockets from where they wait, and moves bytes until they end; then that is reported.
    pub(super) fn join(
        &mut self,
        pair: PairId,
        tenant: TenantId,
        sockets: [Option<Parked>; 2],
        limits: PairLimits,
    ) -> Pair {
        self.start(pair, tenant, Flow::default(), limits, async |means| {
            let [initiator, target] = settled(sockets).await?;
            Some(Relayed::new(initiator, target, means))
        })
    }

    /// Goes on with a pair that another mover has begun.
    pub(super) fn resume(
        &mut self,
        pair: PairId,
        tenant: TenantId,
        lifted: Box<Lifted>,
        moved: Moved,
        limits: PairLimits,
    ) -> Pair {
        let flow = Flow::resumed(moved.to_target, moved.to_initiator);
        self.start(pair, tenant, flow, limits, async |means| Relayed::resume(*lifted, means).ok())
    }

    fn start<F>(
        &mut self,
        pair: PairId,
        tenant: TenantId,
        flow: Flow,
        limits: PairLimits,
        relayed: impl FnOnce(Arc<Means>) -> F + Send + 'static,
    ) -> Pair
    where
        F: Future<Output = Option<Relayed>> + Send + 'static,
    {
        let (sender, stop) = oneshot::channel();
        let (flow, means) = (Arc::new(flow), Arc::clone(&self.movers.means));
        let bucket = self.bucket(tenant);
        let work = Work { pair, limits, bucket, flow: Arc::clone(&flow), stop };
        let (place, reports) = (self.movers.lanes.place(), self.reports.clone());
        place.run(|place| async move {
            let report = match relayed(means).await {
                Some(relayed) => work.carry(relayed).await,
                None => work.ended(EndReason::Reset),
            };
            drop(place);
            // A driver that is no more wants no report.
            let _ = reports.send(report).await;
        });
        Pair { tenant, limits, stop: Some(sender), flow }
    }

    /// The rate that the connections of a tenant share.
    fn bucket(&mut self, tenant: TenantId) -> Option<Arc<Bucket>> {
        let rate = self.movers.tenant_rate?;
        if let Some(bucket) = self.buckets.get(&tenant).and_then(Weak::upgrade) {
            return Some(bucket);
        }
        self.buckets.retain(|_, bucket| bucket.strong_count() > 0);
        let bucket = Arc::new(Bucket::new(rate, now()));
        self.buckets.insert(tenant, Arc::downgrade(&bucket));
        Some(bucket)
    }
}

impl Work {
    async fn carry(mut self, relayed: Relayed) -> Report {
        // Without a driver there is nobody to be carried for.
        let stop = async { (&mut self.stop).await.unwrap_or(Stop::Cut(EndReason::Shutdown)) };
        let relayed = relayed.throttled(self.bucket.take()).paced(self.limits.rate);
        match relayed.run(&self.limits, &self.flow, stop).await {
            Ok(reason) => self.ended(reason),
            Err(lifted) => Report::Lifted(self.pair, lifted),
        }
    }

    fn ended(&self, reason: EndReason) -> Report {
        Report::Ended(self.pair, self.flow.ended(reason))
    }
}

/// Brings both sockets to this lane; `None` when one has closed meanwhile.
async fn settled([initiator, target]: [Option<Parked>; 2]) -> Option<[TcpStream; 2]> {
    let (initiator, target) = (initiator?.take().await?, target?.take().await?);
    Some([settle(initiator).ok()?, settle(target).ok()?])
}
