//! The kinds of polls.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::stream;
use klnet_discovery::fact::Fact;
use klnet_discovery::net::{self, Find, Names, Options, Poll, PollError, Progress, Stage};
use klnet_discovery::plan::{Plan, PlanError};
use klnet_discovery::profile::Profile;
use klnet_discovery::range::{Range, RangeError};
use klnet_discovery::schedule::Schedule;
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

/// Everything that is to be polled is due at once.
pub(super) fn schedule(now: Instant, polling: &duties::Polling) -> Schedule<Kind> {
    let kinds = [
        (Kind::Ranges, polling.ranges_every),
        (Kind::Zeroconf, polling.zeroconf_every),
        (Kind::Windows, polling.windows_every),
    ];
    let kinds = kinds.into_iter().filter(|(_, every)| *every != 0);
    Schedule::new(now, kinds.map(|(kind, every)| (kind, Duration::from_secs(every.into()))))
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
                let nodes = net::AllNodes::open(own).await.ok();
                let asked = async {
                    match nodes {
                        Some(nodes) => nodes.run(&facts).await,
                        None => Ok(()),
                    }
                };
                tokio::try_join!(net::browse(own, LISTEN, None, &facts), asked)?;
            }
            Ok(())
        }
        Kind::Windows => poll_windows(known, facts).await,
    }
}

async fn poll_windows(known: Vec<IpAddr>, facts: mpsc::Sender<Fact>) -> Result<(), Failed> {
    if let Some(plan) = Plan::of(known.iter().copied()) {
        sweep(options(plan, Find::NetBios), facts.clone()).await?;
    }
    for own in own_addresses() {
        net::discover(own, |_| true, &facts).await?;
        net::link_names(own, stream::iter(known.iter().copied()), &facts).await?;
    }
    net::smb_names(known, Profile::Polite, &facts).await;
    Ok(())
}

async fn poll_ranges(ranges: &[String], facts: mpsc::Sender<Fact>) -> Result<(), Failed> {
    let ranges = ranges.iter().map(|range| range.parse()).collect::<Result<Vec<Range>, _>>()?;
    sweep(options(Plan::new(&ranges, &[])?, Find::Hosts), facts).await
}

fn options(plan: Plan, find: Find) -> Options {
    let (profile, tcp, names) = (Profile::Polite, TCP.to_vec(), Names::Alive);
    Options { plan, find, profile, tcp, raw: true, names, server: None, recall: RECALL }
}

async fn sweep(options: Options, facts: mpsc::Sender<Fact>) -> Result<(), Failed> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_to_be_polled_is_never_due() {
        let start = Instant::now();
        let polling = duties::Polling { windows_every: 120, ..duties::Polling::default() };
        assert_eq!(schedule(start, &polling).next(), Some((start, Kind::Windows)));
        assert_eq!(schedule(start, &duties::Polling::default()).next(), None);
    }
}
