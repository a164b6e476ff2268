//! The sweeps of one poll, one after another, with one pacer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::{Note, Options, Part, Progress, Way};
use crate::cookie::CookieKey;
use crate::fact::{Claim, Fact, Source, Suspicion};
use crate::guard::Guard;
use crate::mac::Mac;
use crate::net::channel::Channel;
use crate::net::error::PollError;
use crate::net::segment::Segment;
use crate::net::sweep::Driver;
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::probe::{Answer, Link, Method, Prober};
use crate::range::Range;
use crate::sweep::{self, Sweep};

/// What the sweeps of one poll share.
pub(super) struct Poller<'a> {
    pub(super) options: &'a Options,
    pub(super) key: CookieKey,
    /// Who is told; nobody, where what is found is nobody's fact.
    pub(super) facts: Option<&'a mpsc::Sender<Fact>>,
    pub(super) progress: &'a watch::Sender<Progress>,
    /// Addresses found in earlier parts.
    pub(super) before: usize,
}

impl Poller<'_> {
    /// Sweeps one part by every method that it has.
    pub(super) async fn part(
        &self,
        part: Part,
        pacer: Pacer,
        answers: &mut Vec<Answer>,
        notes: &mut Vec<Note>,
    ) -> Result<Pacer, PollError> {
        let Part { segment, way } = part;
        let (plan, name) = (Arc::new(segment.plan.clone()), &segment.interface.name);
        match way {
            Way::Unknown => Ok(pacer),
            Way::Plain(channel) => {
                let (own, mut channel) = (self.options.profile.pace(), [channel]);
                let Some(kernel) = segment.resolution() else {
                    let core = self.core(&plan, channel.len(), pacer);
                    return Ok(self.sweep(name, core, &mut channel, answers).await?.into_pacer());
                };
                let slow = pacer.with_pace(kernel.pace(own)).within(Some(kernel.bound()));
                let core = self.core(&plan, channel.len(), slow).through(kernel);
                let swept = self.sweep(name, core, &mut channel, answers).await?;
                Ok(swept.into_pacer().with_pace(own).within(None))
            }
            Way::Raw { mac, neighbor, beyond, canary } => {
                let prober = |method, gateway| {
                    Prober::new(method, Link { mac, source: segment.source, gateway }, self.key)
                };
                let on_link = prober(Method::Neighbor, Mac::BROADCAST);
                let mut channel = [Channel::Packet { socket: neighbor, prober: on_link }];
                let Some(gateway) = segment.gateway else {
                    let core = self.core(&plan, channel.len(), pacer);
                    return Ok(self.sweep(name, core, &mut channel, answers).await?.into_pacer());
                };
                let (pacer, gateway_mac) = self.gateway(gateway, &segment, &mut channel, pacer).await?;
                let Some(gateway_mac) = gateway_mac else {
                    notes.push(Note::NoGateway(gateway));
                    return Ok(pacer);
                };
                let channel =
                    |(method, socket)| Channel::Packet { socket, prober: prober(method, gateway_mac) };
                let mut channels: Vec<_> = beyond.into_iter().map(channel).collect();
                let core = self.core(&plan, channels.len(), pacer);
                let swept = self.sweep(name, core, &mut channels, answers).await?;
                match canary {
                    Some(canary) => self.canary(name, channel(canary), swept, answers).await,
                    None => Ok(swept.into_pacer()),
                }
            }
        }
    }

    /// Finds the card of a router, as any neighbour is found.
    async fn gateway(
        &self,
        gateway: IpAddr,
        segment: &Segment,
        channels: &mut [Channel],
        pacer: Pacer,
    ) -> Result<(Pacer, Option<Mac>), PollError> {
        let alone = Range::subnet(gateway, 128);
        let plan = Plan::new(&[alone], &[]).expect("one address is a plan");
        let core = self.core(&plan.into(), channels.len(), pacer);
        // Its answer is nobody's fact: it may be outside of what was asked for.
        let mut driver = Driver { core, channels, facts: None, stuck: None };
        let mut answers = Vec::new();
        driver.run(&mut answers, |_| {}).await.map_err(|error| gone(&segment.interface.name, error))?;
        Ok((driver.core.into_pacer(), answers.first().and_then(|answer| answer.mac)))
    }

    /// Runs a sweep by all channels at once, and tells whose answers do not count.
    pub(super) async fn sweep(
        &self,
        interface: &str,
        core: Sweep,
        channels: &mut [Channel],
        answers: &mut Vec<Answer>,
    ) -> Result<Sweep, PollError> {
        let swept = self.drive(interface, core, channels, answers).await?;
        let mut guard = Guard::default();
        answers.iter().for_each(|answer| guard.answered(answer));
        for (address, suspicion) in guard.suspects(swept.plan()) {
            let source = match suspicion {
                Suspicion::ProxyArp => Source::Arp,
                Suspicion::SynProxy => Source::Tcp,
            };
            let claim = Claim::Suspect(suspicion);
            self.tell(Fact { address, claim, source, seen: SystemTime::now() }).await;
        }
        Ok(swept)
    }

    /// Runs a sweep to its end.
    pub(super) async fn drive(
        &self,
        interface: &str,
        core: Sweep,
        channels: &mut [Channel],
        answers: &mut Vec<Answer>,
    ) -> Result<Sweep, PollError> {
        let mut driver = Driver { core, channels, facts: self.facts, stuck: None };
        let before = u64::try_from(self.before).unwrap_or(u64::MAX);
        let run = driver.run(answers, |at| {
            let at = Progress::from(at);
            self.progress.send_replace(Progress { found: at.found.saturating_add(before), ..at });
        });
        run.await.map_err(|error| gone(interface, error))?;
        Ok(driver.core)
    }

    pub(super) fn core(&self, plan: &Arc<Plan>, methods: usize, pacer: Pacer) -> Sweep {
        let Options { profile, recall, .. } = *self.options;
        let methods = u16::try_from(methods).expect("fewer than there are descriptors");
        let (patience, key) = (profile.patience(), self.key.number("walk"));
        let config = sweep::Config { recall, patience, key, methods };
        Sweep::new(Instant::now(), Arc::clone(plan), config, pacer)
    }

    pub(super) async fn tell(&self, fact: Fact) {
        if let Some(facts) = self.facts {
            // Nobody listens any more: the poll ends by itself.
            let _ = facts.send(fact).await;
        }
    }
}

fn gone(interface: &str, error: std::io::Error) -> PollError {
    PollError::Interface { name: interface.to_owned(), error }
}
