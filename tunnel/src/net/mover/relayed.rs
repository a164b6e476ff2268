//! The mover of a relay: two plain sockets, no cryptography between them.
//!
//! ```text
//!            ┌ little ─▶ buffer ─▶ send ┐
//!   socket ──┤                          ├──▶ socket      a full read changes to bulk, a small one back
//!            └ bulk ──▶ pipe ──▶ splice ┘
//! ```
//! A pipe of 256 KiB moves a byte for a tenth of what a copy through 8 KiB costs; one of the usual 64 KiB would gain
//! nothing over a larger buffer. A pair is whole between any two turns: it can be lifted out of its task with all that
//! lies between its sockets, and go on in another thread or process.

mod bucket;
mod half;
mod lifted;
mod pipe;
mod residue;
mod splice;
mod throttle;

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use super::half::Broken;
use super::watch::Watch;
use super::{Flow, Pair, carry, is_broken};
use crate::net::socket;
use crate::pair::{EndReason, PairLimits};
pub use bucket::Bucket;
use half::{Half, Turn};
pub use lifted::{Lifted, LiftedHalf};
pub use residue::Residue;
pub use splice::works as splice_works;
use throttle::Throttle;

/// A pair of sockets while its bytes are moved.
#[derive(Debug)]
pub struct Relayed {
    initiator: TcpStream,
    target: TcpStream,
    there: Half,
    back: Half,
    throttle: Option<Throttle>,
    means: Arc<Means>,
    /// How long nothing had moved when it was put together.
    silent: Duration,
}

/// How pairs that share this move their bytes, and how many were moved each way.
#[derive(Debug)]
pub struct Means {
    splice: bool,
    spliced: AtomicU64,
    copied: AtomicU64,
}

/// What ends the moving from outside.
#[derive(Debug)]
pub enum Stop {
    /// The pair ends, by a reset at both ends.
    Cut(EndReason),
    /// The pair goes on elsewhere.
    Lift,
}

impl Relayed {
    /// Joins two sockets.
    pub fn new(initiator: TcpStream, target: TcpStream, means: Arc<Means>) -> Self {
        let (there, back) = (Half::new(), Half::new());
        Self { initiator, target, there, back, throttle: None, means, silent: Duration::ZERO }
    }

    /// Shares a rate with others.
    pub fn throttle(&mut self, bucket: Option<Arc<Bucket>>) {
        self.throttle = bucket.map(Throttle::new);
    }

    /// Lets each socket send at most so many bytes per second.
    pub fn pace(&self, rate: Option<NonZeroU64>) {
        for socket in [&self.initiator, &self.target] {
            if let Some(Err(error)) = rate.map(|rate| socket::pace(socket, rate)) {
                tracing::debug!(%error, "the system does not keep a grant's rate");
            }
        }
    }

    /// Moves bytes until both directions have ended, a limit is reached, or `stop` completes.
    ///
    /// Both sockets are closed when it has ended, in order after [`EndReason::Finished`], by a reset otherwise.
    ///
    /// # Errors
    /// The pair, with whatever one socket gave and the other has not taken, after [`Stop::Lift`].
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn keeps each argument twice, for as long as a pair is idle"
    )]
    pub fn run(
        mut self: Box<Self>,
        limits: &PairLimits,
        flow: &Flow,
        stop: impl Future<Output = Stop>,
    ) -> impl Future<Output = Result<EndReason, Box<Lifted>>> {
        async move {
            let mut watch = Watch::new(limits, self.silent);
            let ended = carry(&mut *self, &mut watch, flow, stop).await;
            self.end(ended, watch.silent())
        }
    }

    fn end(
        self: Box<Self>,
        ended: Result<EndReason, Stop>,
        silent: Duration,
    ) -> Result<EndReason, Box<Lifted>> {
        let reason = match ended {
            Ok(reason) | Err(Stop::Cut(reason)) => reason,
            Err(Stop::Lift) => match self.lift(silent) {
                Ok(lifted) => return Err(Box::new(lifted)),
                Err(error) => {
                    tracing::warn!(%error, "a tunnel connection could not be handed on and was cut");
                    return Ok(EndReason::Shutdown);
                }
            },
        };
        let close =
            if reason == EndReason::Finished { socket::close_in_order } else { socket::close_by_reset };
        close(&self.initiator);
        close(&self.target);
        Ok(reason)
    }
}

impl Means {
    /// By `splice(2)` where it pays, or always by a copy.
    pub const fn new(splice: bool) -> Self {
        Self { splice, spliced: AtomicU64::new(0), copied: AtomicU64::new(0) }
    }

    /// Whether bulk goes by `splice(2)`.
    pub const fn splice(&self) -> bool {
        self.splice
    }

    /// Bytes that never entered this process.
    pub fn spliced(&self) -> u64 {
        self.spliced.load(Ordering::Relaxed)
    }

    /// Bytes that were copied.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    fn add(&self, turn: &Turn) {
        for (sum, moved) in [(&self.spliced, turn.spliced), (&self.copied, turn.copied)] {
            if moved > 0 {
                sum.fetch_add(moved as u64, Ordering::Relaxed);
            }
        }
    }
}

impl Pair for Relayed {
    fn poll_halves(&mut self, cx: &mut Context<'_>, flow: &Flow) -> [Poll<Result<(), Broken>>; 2] {
        let Self { initiator, target, there, back, throttle, means, silent: _ } = self;
        let mut turn = |half: &mut Half, reader: &TcpStream, writer: &TcpStream, moved: &AtomicU64| {
            let mut turn = Turn::new(means.splice);
            let polled = half.poll(cx, reader, writer, throttle.as_mut(), &mut turn);
            moved.fetch_add(turn.moved() as u64, Ordering::Relaxed);
            means.add(&turn);
            polled
        };
        let forth = turn(there, initiator, target, &flow.to_target);
        if is_broken(&forth) {
            return [forth, Poll::Pending];
        }
        [forth, turn(back, target, initiator, &flow.to_initiator)]
    }

    fn sockets(&self) -> [Option<&TcpStream>; 2] {
        [Some(&self.initiator), Some(&self.target)]
    }
}

#[cfg(test)]
mod tests;
