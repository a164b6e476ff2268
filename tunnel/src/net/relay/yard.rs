//! Where joined pairs run: each on a lane, with what it shares with others.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use klnet_wire::id::TenantId;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::Moved;
use super::parked::Parked;
use super::report::Report;
use crate::net::clock::now;
use crate::net::lanes::{Lanes, Place};
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
    pub(super) course: Arc<Course>,
    /// Ends the mover; gone once used.
    pub(super) stop: Option<oneshot::Sender<Stop>>,
}

/// What a pair's driver and its mover both look at.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) tenant: TenantId,
    pub(super) limits: PairLimits,
    pub(super) flow: Flow,
}

/// What a pair's task works with.
struct Work {
    pair: PairId,
    course: Arc<Course>,
    bucket: Option<Arc<Bucket>>,
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
        mut sockets: [Option<Parked>; 2],
        limits: PairLimits,
    ) -> Pair {
        // Where one of them has waited, both go on.
        let place = sockets.iter_mut().flatten().find_map(Parked::take_place);
        let (place, means) = (place.unwrap_or_else(|| self.place()), Arc::clone(&self.movers.means));
        let begin = async move {
            let [initiator, target] = settled(sockets).await?;
            Some(Box::new(Relayed::new(initiator, target, means)))
        };
        self.start(pair, Course::new(tenant, limits), place, Box::pin(begin))
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
        let (place, course) = (self.place(), Course { flow, ..Course::new(tenant, limits) });
        let means = Arc::clone(&self.movers.means);
        let begin = async move { Relayed::resume(*lifted, means).ok().map(Box::new) };
        self.start(pair, course, place, Box::pin(begin))
    }

    /// A place for a pair, or for a socket that waits to be one.
    pub(super) fn place(&self) -> Place {
        self.movers.lanes.place()
    }

    fn start(&mut self, pair: PairId, course: Course, place: Place, begin: Begin) -> Pair {
        let (sender, stop) = oneshot::channel();
        let (bucket, course) = (self.bucket(course.tenant), Arc::new(course));
        let (work, reports) =
            (Work { pair, course: Arc::clone(&course), bucket, stop }, self.reports.clone());
        place.run(|place| task(work, begin, place, reports));
        Pair { course, stop: Some(sender) }
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

impl Course {
    fn new(tenant: TenantId, limits: PairLimits) -> Self {
        Self { tenant, limits, flow: Flow::default() }
    }
}

/// A pair's task, from its sockets to its report. While the pair is idle this is what it costs, beside its sockets: what
/// it only begins or ends with has a box of its own, and what it needs throughout is moved nowhere, since a future
/// keeps room for every place that something is moved to.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps each argument twice, for as long as a pair is idle"
)]
fn task(
    mut work: Work,
    begin: Begin,
    place: Place,
    reports: mpsc::Sender<Report>,
) -> impl Future<Output = ()> + Send {
    async move {
        let begun = begin.await;
        let report = match begun {
            Some(relayed) => work.carry(relayed).await,
            None => work.ended(EndReason::Reset),
        };
        drop(place);
        // A driver that is no more wants no report.
        let _ = Box::pin(reports.send(report)).await;
    }
}

impl Work {
    async fn carry(&mut self, mut relayed: Box<Relayed>) -> Report {
        let Course { limits, flow, .. } = &*self.course;
        relayed.throttle(self.bucket.take());
        relayed.pace(limits.rate);
        // Without a driver there is nobody to be carried for.
        let stop = async { (&mut self.stop).await.unwrap_or(Stop::Cut(EndReason::Shutdown)) };
        match relayed.run(limits, flow, stop).await {
            Ok(reason) => self.ended(reason),
            Err(lifted) => Report::Lifted(self.pair, lifted),
        }
    }

    fn ended(&self, reason: EndReason) -> Report {
        Report::Ended(self.pair, self.course.flow.ended(reason))
    }
}

/// Both sockets on this lane; `None` when one has closed meanwhile.
async fn settled([initiator, target]: [Option<Parked>; 2]) -> Option<[TcpStream; 2]> {
    Some([initiator?.take().await?, target?.take().await?])
}

/// How a pair gets its sockets.
type Begin = Pin<Box<dyn Future<Output = Option<Box<Relayed>>> + Send>>;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_idle_pair_takes_little() {
        let (yard, _reports) = yard();
        let limits = PairLimits { idle: Duration::MAX, linger: Duration::MAX, deadline: None, rate: None };
        let (_stop, stopped) = oneshot::channel();
        let course = Arc::new(Course::new(TenantId::new([1; 16]), limits));
        let work = Work { pair: PairId(1), course, bucket: None, stop: stopped };
        let begin: Begin = Box::pin(std::future::pending());
        let task = task(work, begin, yard.place(), yard.reports.clone());
        assert!(size_of_val(&task) <= TASK, "the task: {}", size_of_val(&task));
        assert!(size_of::<Relayed>() <= RELAYED, "what it moves: {}", size_of::<Relayed>());
        assert!(size_of::<(PairId, Pair)>() <= ENTRY, "its entry: {}", size_of::<(PairId, Pair)>());
        assert!(size_of::<Course>() <= COURSE, "its course: {}", size_of::<Course>());
    }

    fn yard() -> (Yard, mpsc::Receiver<Report>) {
        let (reporter, reports) = mpsc::channel(1);
        let movers = Movers { lanes: Lanes::current(), means: Arc::new(Means::new(true)), tenant_rate: None };
        (Yard::new(movers, reporter), reports)
    }

    /// Bytes: each is one more tunnel's for each of thousands.
    const TASK: usize = 384;
    const RELAYED: usize = 256;
    const ENTRY: usize = 32;
    const COURSE: usize = 112;
}
