//! The clocks of a join, on one timer that is moved when it rings, not with every byte.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Flow;
use super::pulse::Pulse;
use crate::net::clock::now;
use crate::net::socket;
use crate::pair::{EndReason, PairLimits};

/// Ends a join that is silent, over, half-closed without progress, or has lost a peer.
pub(super) struct Watch<'a> {
    limits: &'a PairLimits,
    active: Instant,
    /// When the sockets are looked at; `None` while nothing has moved since the last look and nothing is outstanding.
    look: Option<Instant>,
    pulses: [Pulse; 2],
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watch<'a> {
    /// Watches over a join in which nothing has moved for so long.
    pub(super) fn new(limits: &'a PairLimits, silent: Duration) -> Self {
        let now = now();
        let active = now.checked_sub(silent).unwrap_or(now);
        let timer = Box::pin(tokio::time::sleep_until(far(active, limits.idle).into()));
        let mut watch = Self { limits, active, look: None, pulses: Default::default(), timer };
        watch.set(false);
        watch
    }

    /// For how long nothing has moved.
    pub(super) fn silent(&self) -> Duration {
        now().saturating_duration_since(self.active)
    }

    /// Looks at the clocks after a turn: whether it moved anything, and whether one direction has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        moved: bool,
        half_closed: bool,
        sockets: [Option<&TcpStream>; 2],
        flow: &Flow,
    ) -> Poll<EndReason> {
        if moved {
            self.active = now();
            if self.look.is_none() {
                self.look = Some(self.active + LOOK_EACH);
                self.set(half_closed);
            }
        } else if half_closed && self.timer.deadline().into_std() > far(self.active, self.limits.linger) {
            self.set(half_closed);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(reason) = self.rang(now(), half_closed, sockets, flow) {
                return Poll::Ready(reason);
            }
            self.set(half_closed);
        }
        Poll::Pending
    }

    fn rang(
        &mut self,
        now: Instant,
        half_closed: bool,
        sockets: [Option<&TcpStream>; 2],
        flow: &Flow,
    ) -> Option<EndReason> {
        if self.limits.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(EndReason::SessionOver);
        }
        if now.duration_since(self.active) >= self.patience(half_closed) {
            return Some(EndReason::Idle);
        }
        if self.look.is_some_and(|look| now >= look) && !self.all_live(now, sockets, flow) {
            return Some(EndReason::Reset);
        }
        None
    }

    /// Looks at both sockets: notes how far their peers are, and says whether these still live.
    fn all_live(&mut self, now: Instant, sockets: [Option<&TcpStream>; 2], flow: &Flow) -> bool {
        let mut again = now.duration_since(self.active) < LOOK_EACH;
        for ((pulse, stream), round_trip) in self.pulses.iter_mut().zip(sockets).zip(&flow.round_trips) {
            // A socket that cannot be asked, or a system that does not tell: keepalive alone watches over it.
            let Some(Ok(health)) = stream.map(socket::health) else { continue };
            round_trip.store(u32::try_from(health.round_trip.as_micros()).unwrap_or(0), Ordering::Relaxed);
            if pulse.is_lost(now, &health) {
                return false;
            }
            again |= health.is_waiting();
        }
        self.look = again.then(|| now + LOOK_EACH);
        true
    }

    /// How long nothing may move.
    fn patience(&self, half_closed: bool) -> Duration {
        if half_closed { self.limits.linger.min(self.limits.idle) } else { self.limits.idle }
    }

    fn set(&mut self, half_closed: bool) {
        let silence = far(self.active, self.patience(half_closed));
        let next = [self.limits.deadline, self.look].into_iter().flatten().fold(silence, Instant::min);
        self.timer.as_mut().reset(next.into());
    }
}

/// What is further away than a clock can tell is looked at again when a year has passed.
fn far(since: Instant, wait: Duration) -> Instant {
    since + wait.min(Duration::from_secs(365 * 24 * 3600))
}

/// How often the sockets of a join are looked at while it moves bytes or waits for acknowledgements.
const LOOK_EACH: Duration = Duration::from_secs(5);
