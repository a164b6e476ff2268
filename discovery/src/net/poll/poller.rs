//! The sweeps of one poll, one after another, with one pacer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
use crate::profile::Pace;
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
                if segment.gateway.is_some() {
                    return self.sweep(name, &plan, &mut channel, pacer, answers).await;
                }
                let slow = pacer.with_pace(by_kernel(own));
                let slow = self.sweep(name, &plan, &mut channel, slow, answers).await?;
                Ok(slow.with_pace(own))
            }
            Way::Raw { mac, neighbor, beyond } => {
                let prober = |method, gateway| {
                    Prober::new(method, Link { mac, source: segment.source, gateway }, self.key)
                };
                let on_link = prober(Method::Neighbor, Mac::BROADCAST);
                let mut channel = [Channel::Packet { socket: neighbor, prober: on_link }];
                let Some(gateway) = segment.gateway else {
                    return self.sweep(name, &plan, &mut channel, pacer, answers).await;
                };
                let (pacer, gateway_mac) = self.gateway(gateway, &segment, &mut channel, pacer).await?;
                let Some(gateway_mac) = gateway_mac else {
                    notes.push(Note::NoGateway(gateway));
                    return Ok(pacer);
                };
                let channel =
                    |(method, socket)| Channel::Packet { socket, prober: prober(method, gateway_mac) };
                let mut channels: Vec<_> = beyond.into_iter().map(channel).collect();
                self.sweep(name, &plan, &mut channels, pacer, answers).await
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
        let core = Sweep::new(Instant::now(), Arc::new(plan), self.config(1), pacer);
        // Its answer is nobody's fact: it may be outside of what was asked for.
        let mut driver = Driver { core, channels, facts: None, guard: Guard::default(), stuck: None };
        let mut answers = Vec::new();
        driver.run(&mut answers, |_| {}).await.map_err(|error| gone(&segment.interface.name, error))?;
        Ok((driver.core.into_pacer(), answers.first().and_then(|answer| answer.mac)))
    }

    /// Sweeps a plan, by all channels at once.
    pub(super) async fn sweep(
        &self,
        interface: &str,
        plan: &Arc<Plan>,
        channels: &mut [Channel],
        pacer: Pacer,
        answers: &mut Vec<Answer>,
    ) -> Result<Pacer, PollError> {
        let methods = u16::try_from(channels.len()).expect("as many ports as there are, and ping");
        let core = Sweep::new(Instant::now(), Arc::clone(plan), self.config(methods), pacer);
        let mut driver = Driver { core, channels, facts: self.facts, guard: Guard::default(), stuck: None };
        let run = driver.run(answers, |at| {
            let (at, before) = (Progress::from(at), u64::try_from(self.before).unwrap_or(u64::MAX));
            self.progress.send_replace(Progress { found: at.found + before, ..at });
        });
        run.await.map_err(|error| gone(interface, error))?;
        for (address, suspicion) in driver.guard.suspects(plan) {
            let claim = Claim::Suspect(suspicion);
            let source = match suspicion {
                Suspicion::ProxyArp => Source::Arp,
                Suspicion::SynProxy => Source::Tcp,
            };
            let fact = Fact { address, claim, source, seen: SystemTime::now() };
            if let Some(facts) = self.facts {
                let _ = facts.send(fact).await;
            }
        }
        Ok(driver.core.into_pacer())
    }

    fn config(&self, methods: u16) -> sweep::Config {
        let Options { profile, recall, .. } = *self.options;
        sweep::Config { recall, patience: profile.patience(), key: self.key.number("walk"), methods }
    }
}

fn gone(interface: &str, error: std::io::Error) -> PollError {
    PollError::Interface { name: interface.to_owned(), error }
}

/// The pace at which the kernel can look for silent neighbours: it has room for so many, and asks for each three times.
pub(super) fn by_kernel(own: Pace) -> Pace {
    slower(NEIGHBOUR_TABLE, Pace { burst: (own.burst / 3).max(1), ..own })
}

/// The slower of two.
fn slower(a: Pace, b: Pace) -> Pace {
    let interval = |pace: Pace| pace.per / pace.burst;
    if interval(a) > interval(b) { a } else { b }
}

/// The kernel keeps each neighbour it asks for three seconds, and has room for 1024 (arp(7), gc_thresh3).
const NEIGHBOUR_TABLE: Pace = Pace { burst: 5, per: Duration::from_millis(20) };
