//! The old process's part: everything is given to a new one, or nothing is changed.

use std::time::{Duration, Instant};

use klnet_tunnel::net::relay::{Departure, Part, RelayHandle};
use klnet_tunnel::pair::{EndReason, PairEnd, PairId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::message::{Message, Record};
use super::parcel;
use super::program::Program;
use super::successor::{Answer, Failure, Successor};
use crate::service::{Running, Suspended};

/// What became of a handover.
pub enum Outcome {
    /// The new process serves and has every connection. It takes this one to be gone once it is dropped, and until then
    /// the supervisor can be told of it.
    Over(Successor),
    /// This process serves as before.
    Kept(Running, Failure),
    /// Neither serves: this process could not have its store back.
    Lost,
}

/// Starts `program` and gives it what `running` has. Connections that it cannot take have `drain_timeout` to end by
/// themselves.
pub async fn hand_over(running: Running, program: &Program, stop: &CancellationToken) -> Outcome {
    let listeners = running.ground().listeners.named(&running.ground().config);
    match unless_stopped(stop, Successor::start(program, &listeners)).await {
        Ok(successor) => give(running, successor, stop).await,
        Err(failure) => {
            error!(%failure, "the new program does not take over, this one goes on");
            Outcome::Kept(running, failure)
        }
    }
}

/// Gives everything to a successor that is prepared.
pub(super) async fn give(running: Running, mut successor: Successor, stop: &CancellationToken) -> Outcome {
    info!(process = successor.process(), build = successor.build(), "the new program takes over");
    let begun = Instant::now();
    let suspended = running.suspend().await;
    if let Err(failure) = unless_stopped(stop, successor.serve(bequest(&suspended))).await {
        return take_back(suspended, Vec::new(), successor.gave_up(failure).await, stop).await;
    }
    let absent = begun.elapsed();
    let mut giving = Giving::new(&suspended.ground.relay);
    if let Err(failure) = giving.all(&mut successor, &suspended).await {
        let lost = giving.ends;
        return take_back(suspended, lost, successor.gave_up(failure).await, stop).await;
    }
    let Giving { carried: tunnels, cut, pause, .. } = giving;
    let took = begun.elapsed();
    match cut {
        0 => info!(tunnels, cut, ?pause, ?absent, ?took, "handed over"),
        _ => warn!(tunnels, cut, ?pause, ?absent, ?took, "handed over, but tunnel connections were cut"),
    }
    Outcome::Over(successor)
}

/// What the new process is told before it serves.
fn bequest(suspended: &Suspended) -> impl Iterator<Item = Message> {
    let live = suspended.live.iter().map(|(live, moved)| Message::Pair(live.clone(), (*moved).into()));
    live.chain(suspended.unrecorded.iter().map(|record| Message::Record(Record::from(record))))
}

/// Serves again, without the connections that are lost with the new process; or, when that cannot be, lets the others
/// end by themselves for a while.
async fn take_back(
    suspended: Suspended,
    lost: Vec<(PairId, PairEnd)>,
    failure: Failure,
    stop: &CancellationToken,
) -> Outcome {
    let cut = lost.len();
    match suspended.resume(lost).await {
        Ok(running) => {
            error!(%failure, cut, "the new program did not take over, this one serves again");
            Outcome::Kept(running, failure)
        }
        Err((suspended, error)) => {
            error!(%failure, %error, "the new program did not take over, and this one cannot serve again");
            let limit = suspended.ground.config.drain_timeout;
            let enough = async {
                // A stop that is asked for is not put off.
                let _ = timeout(limit, stop.cancelled()).await;
            };
            let cut = cut + suspended.drain(enough).await;
            warn!(cut, "every other tunnel connection has ended");
            Outcome::Lost
        }
    }
}

/// Pairs on their way to the new process.
struct Giving<'a> {
    relay: &'a RelayHandle,
    /// Of those it was told of, the ends they have had, or have if it dies with them.
    ends: Vec<(PairId, PairEnd)>,
    /// How many it carries.
    carried: usize,
    /// Those that it did not take.
    kept: Vec<PairId>,
    cut: usize,
    /// The longest that one of them stood still.
    pause: Duration,
}

impl<'a> Giving<'a> {
    fn new(relay: &'a RelayHandle) -> Self {
        Self { relay, ends: Vec::new(), carried: 0, kept: Vec::new(), cut: 0, pause: Duration::ZERO }
    }

    async fn all(&mut self, successor: &mut Successor, suspended: &Suspended) -> Result<(), Failure> {
        for (live, _) in &suspended.live {
            self.give(successor, live.pair).await?;
        }
        self.drain(successor, suspended.ground.config.drain_timeout).await?;
        successor.done().await
    }

    async fn give(&mut self, successor: &mut Successor, pair: PairId) -> Result<(), Failure> {
        let begun = Instant::now();
        let (lifted, moved) = match self.relay.part(pair, Part::Lift).await {
            Ok(Departure::Lifted(lifted, moved)) => (lifted, moved),
            Ok(Departure::Ended(end)) => return self.ended(successor, pair, end).await,
            // A relay that has stopped has no connections.
            Err(_) => return Ok(()),
        };
        let (carry, descriptors) = parcel::pack(pair, &lifted, moved);
        if let Err(failure) = successor.show(carry, &descriptors).await {
            let _ = self.relay.put_back(pair, lifted).await;
            return Err(failure);
        }
        match successor.answer(pair).await {
            Ok(Answer::Taken) => {
                self.ends.push((pair, moved.ended(EndReason::Reset)));
                self.carried += 1;
            }
            Ok(Answer::Declined) => {
                self.kept.push(pair);
                let _ = self.relay.put_back(pair, lifted).await;
            }
            Err(failure) => {
                // It may have moved bytes already: nobody can go on with this one.
                self.ends.push((pair, moved.ended(EndReason::Reset)));
                lifted.reset();
                return Err(failure);
            }
        }
        self.pause = self.pause.max(begun.elapsed());
        Ok(())
    }

    /// Lets what was not taken end by itself for a while, and then ends it.
    async fn drain(&mut self, successor: &mut Successor, limit: Duration) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + limit;
        for pair in std::mem::take(&mut self.kept) {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let ended = match timeout(left, self.relay.part(pair, Part::Wait)).await {
                Ok(ended) => ended,
                Err(_) => {
                    self.cut += 1;
                    self.relay.part(pair, Part::Cut).await
                }
            };
            if let Ok(Departure::Ended(end)) = ended {
                self.ended(successor, pair, end).await?;
            }
        }
        Ok(())
    }

    /// Tells of an end, which may yet be lost with the new process.
    async fn ended(&mut self, successor: &mut Successor, pair: PairId, end: PairEnd) -> Result<(), Failure> {
        self.ends.push((pair, end));
        successor.ended(pair, end).await
    }
}

async fn unless_stopped<T>(
    stop: &CancellationToken,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    stop.run_until_cancelled(step).await.unwrap_or(Err(Failure::Stopped))
}
