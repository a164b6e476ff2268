//! Drives one sweep over one channel.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::channel::{Channel, Went};
use crate::fact::{Claim, Fact, Source};
use crate::guard::Guard;
use crate::probe::{Answer, Kind};
use crate::sweep::{Input, Output, Progress, Sweep};

/// A sweep and the channel it goes through.
pub(super) struct Driver<'a> {
    pub(super) core: Sweep,
    pub(super) channel: &'a mut Channel,
    /// Who is told; nobody, where who answers is nobody's fact.
    pub(super) facts: Option<&'a mpsc::Sender<Fact>>,
    pub(super) guard: Guard,
    /// A probe that found no room.
    pub(super) stuck: Option<(IpAddr, u16)>,
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
                ready = self.channel.readable() => ready?,
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
                Output::Probe { target, attempt } => match self.channel.probe(target, attempt)? {
                    Went::Out => {}
                    Went::Batched => {
                        self.flush()?;
                        self.receive()?;
                    }
                    Went::Refused => self.core.handle_input(Instant::now(), Input::Refused(target)),
                    Went::Full => {
                        self.stuck = Some((target, attempt));
                        self.core.handle_input(Instant::now(), Input::Congested);
                        break;
                    }
                },
                Output::Found { answer, rtt } => {
                    self.guard.answered(&answer);
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
        let stuck = self.stuck.take().map(|(target, attempt)| Output::Probe { target, attempt });
        stuck.or_else(|| self.core.poll_output())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.channel.flush()? {
            self.core.handle_input(Instant::now(), Input::Congested);
        }
        self.core.handle_input(Instant::now(), Input::Sent);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let (core, now) = (&mut self.core, Instant::now());
        self.channel.receive(|answer| core.handle_input(now, Input::Answered(answer)))?;
        if self.channel.has_dropped() {
            self.core.handle_input(now, Input::Congested);
        }
        Ok(())
    }

    /// Tells what hosts said of themselves in their answers.
    async fn tell_said(&mut self) {
        let said = self.channel.said();
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

fn source(kind: Kind) -> Source {
    match kind {
        Kind::Arp => Source::Arp,
        Kind::Neighbor => Source::Neighbor,
        Kind::Echo => Source::Echo,
        Kind::Open(_) | Kind::Closed(_) => Source::Tcp,
        Kind::Unreachable => Source::Udp,
        Kind::Status => Source::Nbns,
    }
}

/// How long to wait for room.
const FULL: Duration = Duration::from_millis(5);
