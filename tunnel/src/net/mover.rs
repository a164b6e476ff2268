//! Moves bytes between the two ends of a connection, both ways, in one task.
//!
//! ```text
//!               ┌─ to target ───▶┐             a direction ends cleanly: the other end's write side is shut, the
//!   initiator ──┤                ├── target    other direction goes on (half-close). Anything else ends both at once,
//!               └◀─ to initiator ┘             and both ends by a reset: truncation is never taken for an end.
//! ```
//! An idle join holds no buffer: one is borrowed from the thread's pool for a turn, and kept only while it holds bytes
//! that the other end has not taken. A turn moves a bounded number of bytes, then lets other tasks run.

mod buffer;
mod end;
mod half;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::clock::now;
use crate::pair::{EndReason, PairEnd, PairLimits};
pub use end::{End, Stdio};
use half::Half;

/// Bytes moved so far; shared, so that a live join can be watched.
#[derive(Debug, Default)]
pub struct Flow {
    to_target: AtomicU64,
    to_initiator: AtomicU64,
}

impl Flow {
    /// Bytes the target's end has taken.
    pub fn to_target(&self) -> u64 {
        self.to_target.load(Ordering::Relaxed)
    }

    /// Bytes the initiator's end has taken.
    pub fn to_initiator(&self) -> u64 {
        self.to_initiator.load(Ordering::Relaxed)
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
/// Both ends are closed when this returns: in order after [`EndReason::Finished`], by a reset otherwise. Of `limits`
/// the idle time and the deadline are kept here; the rate is the sockets' ([`pace`](super::socket::pace)).
///
/// This is the general mover. A relay's pairs are two plain sockets with no cryptography between them; their case can
/// be given to `splice(2)` behind this function without a caller noticing.
pub async fn join<I: End, T: End>(
    mut initiator: I,
    mut target: T,
    limits: &PairLimits,
    flow: &Flow,
    cut: impl Future<Output = EndReason>,
) -> EndReason {
    let mut cut = pin!(cut);
    let mut there = Half::new(&flow.to_target);
    let mut back = Half::new(&flow.to_initiator);
    let mut watch = Watch::new(limits);
    let reason = poll_fn(|cx| {
        if let Poll::Ready(reason) = cut.as_mut().poll(cx) {
            return Poll::Ready(reason);
        }
        let before = flow.total();
        let there = there.poll(cx, &mut initiator, &mut target);
        let back = back.poll(cx, &mut target, &mut initiator);
        match (there, back) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(EndReason::Reset),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(EndReason::Finished),
            _ => watch.poll(cx, flow.total() != before),
        }
    })
    .await;
    if reason != EndReason::Finished {
        initiator.close_by_reset();
        target.close_by_reset();
    }
    reason
}

/// The two clocks of a join on one timer. The timer is moved when it rings, not with every byte.
struct Watch<'a> {
    limits: &'a PairLimits,
    active: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watch<'a> {
    fn new(limits: &'a PairLimits) -> Self {
        let active = now();
        let timer = Box::pin(tokio::time::sleep_until(next(limits, active).into()));
        Self { limits, active, timer }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<EndReason> {
        if moved {
            self.active = now();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = now();
            if self.limits.deadline.is_some_and(|deadline| now >= deadline) {
                return Poll::Ready(EndReason::SessionOver);
            }
            if now.duration_since(self.active) >= self.limits.idle {
                return Poll::Ready(EndReason::Idle);
            }
            self.timer.as_mut().reset(next(self.limits, self.active).into());
        }
        Poll::Pending
    }
}

/// When to look at the clocks next, for a join last active at `active`.
fn next(limits: &PairLimits, active: Instant) -> Instant {
    let idle = active + limits.idle.min(FAR);
    limits.deadline.map_or(idle, |deadline| deadline.min(idle))
}

/// What is further away is looked at again when this much has passed: adding it to a clock cannot overflow.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests;
