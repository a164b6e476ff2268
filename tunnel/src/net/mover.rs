//! Moves bytes between the two ends of a connection, both ways, in one task.
//!
//! ```text
//!               ┌─ to target ───▶┐             a direction ends cleanly: the other end's write side is shut, the
//!   initiator ──┤                ├── target    other direction goes on (half-close). Anything else ends both at once,
//!               └◀─ to initiator ┘             and both ends by a reset: truncation is never taken for an end.
//! ```
//! There are two movers. [`join`] copies between ends of any kind, TLS streams among them. [`Relayed`] carries a relay's
//! pair of plain sockets: bulk by `splice(2)`, which never brings the bytes into this process, keystrokes by a copy.
//! Either holds nothing while it is idle: a buffer or pipe is borrowed from the thread's pool for a turn, and kept only
//! while it holds bytes that the other end has not taken. A turn moves a bounded number of bytes, then lets other tasks
//! run.

mod buffer;
mod end;
mod half;
mod hush;
mod pulse;
mod relayed;
mod watch;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::pair::{EndReason, PairEnd, PairLimits};
pub use end::{End, Stdio};
use half::{Broken, Half};
pub use relayed::{Bucket, Lifted, LiftedHalf, Means, Relayed, Residue, Stop, splice_works};
use watch::Watch;

/// Bytes moved so far, and how far away the ends are; shared, so that a live join can be watched.
#[derive(Debug, Default)]
pub struct Flow {
    to_target: AtomicU64,
    to_initiator: AtomicU64,
    /// Round-trip times in microseconds, of the initiator's socket and the target's; 0 while unknown.
    round_trips: [AtomicU32; 2],
}

impl Flow {
    /// A flow that has moved this much already.
    pub fn resumed(to_target: u64, to_initiator: u64) -> Self {
        Self { to_target: to_target.into(), to_initiator: to_initiator.into(), ..Self::default() }
    }

    /// Bytes the target's end has taken.
    pub fn to_target(&self) -> u64 {
        self.to_target.load(Ordering::Relaxed)
    }

    /// Bytes the initiator's end has taken.
    pub fn to_initiator(&self) -> u64 {
        self.to_initiator.load(Ordering::Relaxed)
    }

    /// The smoothed round-trip times (RFC 6298) to the initiator's end and to the target's, when bytes moved last.
    pub fn round_trips(&self) -> [Option<Duration>; 2] {
        let known = |micros: u32| (micros > 0).then(|| Duration::from_micros(micros.into()));
        self.round_trips.each_ref().map(|micros| known(micros.load(Ordering::Relaxed)))
    }

    /// What was moved by a join that ended so.
    pub fn ended(&self, reason: EndReason) -> PairEnd {
        PairEnd { to_target: self.to_target(), to_initiator: self.to_initiator(), reason }
    }

    fn total(&self) -> u64 {
        self.to_target().wrapping_add(self.to_initiator())
    }
}

/// Moves bytes between two ends until both directions have ended, a limit is reached, or `cut` completes.
///
/// Both ends are closed when this returns: in order after [`EndReason::Finished`], by a reset otherwise, and also when it
/// never returns because the process is killed. Of `limits`
/// all but the rate are kept here; that is the sockets' ([`pace`](super::socket::pace)).
pub async fn join<I: End, T: End>(
    initiator: I,
    target: T,
    limits: &PairLimits,
    flow: &Flow,
    cut: impl Future<Output = EndReason>,
) -> EndReason {
    let mut joined = Joined { initiator, target, there: Half::new(), back: Half::new() };
    joined.initiator.arm();
    joined.target.arm();
    let mut watch = Watch::new(limits, Duration::ZERO);
    let reason = carry(&mut joined, &mut watch, flow, cut).await.unwrap_or_else(|cut| cut);
    if reason == EndReason::Finished {
        joined.initiator.close_in_order();
        joined.target.close_in_order();
    } else {
        joined.initiator.close_by_reset();
        joined.target.close_by_reset();
    }
    reason
}

/// Two ends, and the two directions between them.
trait Pair {
    /// Moves what can be moved now, to the target and to the initiator; a direction is ready once its stream has ended.
    ///
    /// Once one is broken the other is left alone: a socket tells of a reset once, and whoever reads after the write that
    /// was told of it meets an end like any other (tcp(7)), which would be passed on as one.
    fn poll_halves(&mut self, cx: &mut Context<'_>, flow: &Flow) -> [Poll<Result<(), Broken>>; 2];

    /// The sockets under the initiator's end and the target's, where there are any.
    fn sockets(&self) -> [Option<&TcpStream>; 2];
}

/// Turns after turns, until the pair ends or `stop` completes, which is then given as the error.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps each argument twice, for as long as a pair is idle"
)]
fn carry<S>(
    pair: &mut impl Pair,
    watch: &mut Watch<'_>,
    flow: &Flow,
    stop: impl Future<Output = S>,
) -> impl Future<Output = Result<EndReason, S>> {
    async move {
        let mut stop = pin!(stop);
        poll_fn(|cx| turn(cx, pair, watch, flow, stop.as_mut())).await
    }
}

fn turn<S>(
    cx: &mut Context<'_>,
    pair: &mut impl Pair,
    watch: &mut Watch<'_>,
    flow: &Flow,
    stop: Pin<&mut impl Future<Output = S>>,
) -> Poll<Result<EndReason, S>> {
    if let Poll::Ready(stop) = stop.poll(cx) {
        return Poll::Ready(Err(stop));
    }
    let before = flow.total();
    let halves = pair.poll_halves(cx, flow);
    let ended = halves.iter().filter(|half| half.is_ready()).count();
    if halves.iter().any(is_broken) {
        return Poll::Ready(Ok(EndReason::Reset));
    }
    if ended == halves.len() {
        return Poll::Ready(Ok(EndReason::Finished));
    }
    let moved = flow.total() != before;
    watch.poll(cx, moved, ended > 0, pair.sockets(), flow).map(Ok)
}

const fn is_broken(half: &Poll<Result<(), Broken>>) -> bool {
    matches!(half, Poll::Ready(Err(Broken)))
}

/// Ends of any kind, between which bytes are copied.
struct Joined<I, T> {
    initiator: I,
    target: T,
    there: Half,
    back: Half,
}

impl<I: End, T: End> Pair for Joined<I, T> {
    fn poll_halves(&mut self, cx: &mut Context<'_>, flow: &Flow) -> [Poll<Result<(), Broken>>; 2] {
        let there = self.there.poll(cx, &mut self.initiator, &mut self.target, &flow.to_target);
        if is_broken(&there) {
            return [there, Poll::Pending];
        }
        let back = self.back.poll(cx, &mut self.target, &mut self.initiator, &flow.to_initiator);
        self.there.hush(self.initiator.socket());
        self.back.hush(self.target.socket());
        [there, back]
    }

    fn sockets(&self) -> [Option<&TcpStream>; 2] {
        [self.initiator.socket(), self.target.socket()]
    }
}

#[cfg(test)]
mod tests;
