//! Asks those that accept connections at a port where nobody listens: who accepts there too accepts for everybody.

use std::time::SystemTime;

use super::Poller;
use crate::fact::{Claim, Fact, Source, Suspicion};
use crate::net::channel::Channel;
use crate::net::error::PollError;
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::probe::{Answer, Kind};
use crate::sweep::Sweep;

impl Poller<'_> {
    /// Tells whose answers do not count, of those that a sweep has found by an open port.
    pub(super) async fn canary(
        &self,
        interface: &str,
        channel: Channel,
        swept: Sweep,
        answers: &[Answer],
    ) -> Result<Pacer, PollError> {
        let is_open = |answer: &&Answer| matches!(answer.kind, Kind::Open(_));
        let open = Plan::of(answers.iter().filter(is_open).map(|answer| answer.from));
        let (path, pacer) = (swept.path(), swept.into_pacer());
        let Some(plan) = open else { return Ok(pacer) };
        let quiet = Self { facts: None, ..*self };
        let (mut channels, mut answers) = ([channel], Vec::new());
        let core = quiet.core(&plan.into(), channels.len(), pacer).along(path);
        let ended = quiet.drive(interface, core, &mut channels, &mut answers).await?;
        for Answer { from: address, .. } in answers.iter().filter(is_open) {
            let (address, claim) = (*address, Claim::Suspect(Suspicion::SynProxy));
            self.tell(Fact { address, claim, source: Source::Tcp, seen: SystemTime::now() }).await;
        }
        Ok(ended.into_pacer())
    }
}
