//! The kinds of polls, and when each is due.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use klnet_discovery::fact::Fact;
use klnet_discovery::net::{self, Names, Options, Poll, PollError, Progress, Stage};
use klnet_discovery::plan::{Plan, PlanError};
use klnet_discovery::profile::Profile;
use klnet_discovery::range::{Range, RangeError};
use klnet_wire::duties;
use tokio::sync::{mpsc, watch};

use super::own_addresses;

/// A kind of poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every address of the ranges, and the names of who answers.
    Ranges,
    /// What announces itself.
    Zeroconf,
    /// Windows names of who is known.
    Windows,
}

/// Why a poll came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Poll(#[from] PollError),
    #[error(transparent)]
    Link(#[from] std::io::Error),
}

/// When each kind is due; one that takes longer than its interval leaves turns out.
#[derive(Debug, Default)]
pub(super) struct Schedule(Vec<(Kind, Duration, Instant)>);

impl Schedule {
    /// Everything that is to be polled is due at once.
    pub(super) fn new(now: Instant, polling: &duties::Polling) -> Self {
        let kinds = [
            (Kind::Ranges, polling.ranges_every),
            (Kind::Zeroconf, polling.zeroconf_every),
            (Kind::Windows, polling.windows_every),
        ];
        let kinds = kinds.into_iter().filter(|(_, every)| *every != 0);
        Self(kinds.map(|(kind, every)| (kind, Duration::from_secs(every.into()), now)).collect())
    }

    /// What is due next, and when.
    pub(super) fn next(&self) -> Option<(Instant, Kind)> {
        self.0.iter().min_by_key(|(_, _, due)| *due).map(|(kind, _, due)| (*due, *kind))
    }

    /// A poll of this kind has begun.
    pub(super) fn begun(&mut self, now: Instant, kind: Kind) {
        for (_, every, due) in self.0.iter_mut().filter(|(known, ..)| *known == kind) {
            *due = now + *every;
        }
    }
}

/// Polls, and tells `facts`; `known` are addresses where somebody answered before.
///
/// # Errors
/// [`Failed`]; what was told by then counts.
pub(super) async fn poll(
    kind: Kind,
    ranges: &[String],
    known: Vec<IpAddr>,
    facts: mpsc::Sender<Fact>,
) -> Result<(), Failed> {
    match kind {
        Kind::Ranges => poll_ranges(ranges, facts).await,
        Kind::Zeroconf => {
            for own in own_addresses() {
                net::browse(own, LISTEN, &facts).await?;
            }
            Ok(())
        }
        Kind::Windows => {
            for own in own_addresses() {
                net::discover(own, LINK, &facts).await?;
            }
            net::smb_names(known, &facts).await;
            Ok(())
        }
    }
}

async fn poll_ranges(ranges: &[String], facts: mpsc::Sender<Fact>) -> Result<(), Failed> {
    let ranges = ranges.iter().map(|range| range.parse()).collect::<Result<Vec<Range>, _>>()?;
    let options = Options {
        plan: Plan::new(&ranges, &[])?,
        profile: Profile::Polite,
        tcp: TCP.to_vec(),
        raw: true,
        names: Names::Alive,
        server: None,
        recall: RECALL,
    };
    let poll = Poll::open(options).await?;
    for note in poll.notes() {
        tracing::info!(%note, "polling");
    }
    let (report, _progress) =
        watch::channel(Progress { stage: Stage::Round(1, 1), done: 0, of: 0, found: 0 });
    poll.run(facts, report).await?;
    Ok(())
}

/// Where hosts behind routers are asked when they do not answer echo: what Windows and Unix machines have.
const TCP: [u16; 2] = [445, 22];
/// One host in ten thousand may be missed.
const RECALL: f64 = 0.9999;
/// How long announcements are listened to on one link.
const LISTEN: Duration = Duration::from_secs(6);
/// WS-Discovery answers come within half a second (its APP_MAX_DELAY), twice.
const LINK: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_interval_and_what_is_not_to_be_polled_is_never_due() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let polling =
            duties::Polling { zeroconf_every: 180, windows_every: 120, ..duties::Polling::default() };
        let (mut schedule, mut done) = (Schedule::new(start, &polling), Vec::new());
        while let Some((due, kind)) = schedule.next().filter(|(due, _)| *due < start + minute * 5) {
            done.push((due.duration_since(start).as_secs() / 60, kind));
            schedule.begun(due, kind);
        }
        let (zeroconf, windows) = (Kind::Zeroconf, Kind::Windows);
        assert_eq!(done, [(0, zeroconf), (0, windows), (2, windows), (3, zeroconf), (4, windows)]);
        assert_eq!(Schedule::new(start, &duties::Polling::default()).next(), None);
    }
}
