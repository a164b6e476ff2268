//! Drives one sweep over its channels.

use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::channel::{Channel, Went};
use crate::fact::{Claim, Fact, Source};
use crate::probe::{Answer, Kind};
use crate::sweep::{Input, Output, Progress, Sweep};

/// A sweep and the channels it goes through.
pub(super) struct Driver<'a> {
    pub(super) core: Sweep,
    /// One for each method.
    pub(super) channels: &'a mut [Channel],
    /// Who is told; nobody, where who answers is nobody's fact.
    pub(super) facts: Option<&'a mpsc::Sender<Fact>>,
    /// A probe that found no room.
    pub(super) stuck: Option<Output>,
}

impl Driver<'_> {
    /// Goes on until the sweep is over or nobody listens to its facts; what is found goes to `found` too.
    pub(super) async fn run(
        &mut self,
        found: &mut Vec<Answer>,
        mut progress: impl FnMut(Progress),
    ) -> io::Result<()> {
        loop {
            self.core.handle_timeout(Instant::now());
            if self.drain(found).await? {
                return Ok(());
            }
            progress(self.core.progress());
            let deadline = self.core.poll_timeout().unwrap_or_else(Instant::now);
            let deadline = if self.stuck.is_some() { Instant::now() + FULL } else { deadline };
            tokio::select! {
                ready = readable(self.channels) => ready?,
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            self.receive()?;
            self.tell_said().await;
        }
    }

    /// Does everything there is to do now; whether the sweep is over.
    async fn drain(&mut self, found: &mut Vec<Answer>) -> io::Result<bool> {
        while let Some(output) = self.next() {
            match output {
                Output::Probe { method, target, attempt } => {
                    match self.channel(method).probe(target, attempt)? {
                        Went::Out => {}
                        Went::Batched => {
                            self.flush()?;
                            self.receive()?;
                        }
                        Went::Refused => self.core.handle_input(Instant::now(), Input::Refused(target)),
                        Went::Full => {
                            self.stuck = Some(output);
                            self.core.handle_input(Instant::now(), Input::Congested);
                            break;
                        }
                    }
                }
                Output::Found { answer, rtt } => {
                    found.push(answer);
                    if !self.tell(&answer, rtt).await {
                        return Ok(true);
                    }
                }
                Output::Over => return Ok(true),
            }
        }
        self.flush()?;
        Ok(false)
    }

    fn next(&mut self) -> Option<Output> {
        self.stuck.take().or_else(|| self.core.poll_output())
    }

    fn channel(&mut self, method: u16) -> &mut Channel {
        &mut self.channels[usize::from(method)]
    }

    fn flush(&mut self) -> io::Result<()> {
        for channel in &mut *self.channels {
            if !channel.flush()? {
                self.core.handle_input(Instant::now(), Input::Congested);
            }
        }
        self.core.handle_input(Instant::now(), Input::Sent);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let (core, now) = (&mut self.core, Instant::now());
        for (method, channel) in (0..).zip(&mut *self.channels) {
            channel.receive(&mut |answer| core.handle_input(now, Input::Answered(method, answer)))?;
            for target in channel.refused() {
                core.handle_input(now, Input::Refused(target));
            }
            if channel.has_dropped() {
                core.handle_input(now, Input::Congested);
            }
        }
        Ok(())
    }

    /// Tells what hosts said of themselves in their answers.
    async fn tell_said(&mut self) {
        let said: Vec<_> = self.channels.iter_mut().flat_map(Channel::said).collect();
        let Some(facts) = self.facts else { return };
        for (address, claim) in said {
            let fact = Fact { address, claim, source: Source::Nbns, seen: SystemTime::now() };
            // Nobody listens any more: the sweep ends with its next answer.
            let _ = facts.send(fact).await;
        }
    }

    /// Tells what an answer says; false when nobody listens any more.
    async fn tell(&self, answer: &Answer, rtt: Option<Duration>) -> bool {
        let Some(facts) = self.facts else { return true };
        let (address, source, seen) = (answer.from, source(answer.kind), SystemTime::now());
        let alive = Claim::Alive { rtt, hops: answer.hops };
        for claim in [Some(alive), answer.mac.map(Claim::Mac)].into_iter().flatten() {
            if facts.send(Fact { address, claim, source, seen }).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Waits until something has come in anywhere.
pub(super) async fn readable(channels: &mut [Channel]) -> io::Result<()> {
    let mut all: Vec<_> = channels.iter_mut().map(|channel| Box::pin(channel.readable())).collect();
    let ready = |context: &mut Context<'_>| {
        let mut ready = all.iter_mut().map(|one| one.as_mut().poll(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    };
    poll_fn(ready).await
}

pub(super) fn source(kind: Kind) -> Source {
    match kind {
        Kind::Arp => Source::Arp,
        Kind::Neighbor => Source::Neighbor,
        Kind::AllNodes => Source::AllNodes,
        Kind::Echo => Source::Echo,
        Kind::Open(_) | Kind::Closed(_) => Source::Tcp,
        Kind::Unreachable => Source::Udp,
        Kind::Status => Source::Nbns,
    }
}

/// How long to wait for room.
const FULL: Duration = Duration::from_millis(5);
