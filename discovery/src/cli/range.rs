//! `klpoll range`: polls the addresses of ranges.

use std::time::SystemTime;

use tokio::sync::mpsc;

use super::args::RangeArgs;
use super::failure::Failure;
use super::gather::{interruptible, learn};
use super::{bar, output};
use crate::fact::Fact;
use crate::inventory::Inventory;
use crate::net::{Find, Note, Options, Poll, give_up_privileges};
use crate::plan::Plan;
use crate::range::Range;

/// Polls, and shows the hosts; what was found before an interrupt is shown too.
pub(super) async fn main(args: RangeArgs) -> Result<(), Failure> {
    let plan = plan(&args.ranges, &args.exclude, args.yes)?;
    let (asked, begun) = (plan.len(), SystemTime::now());
    let options = Options {
        plan,
        find: Find::Hosts,
        profile: args.profile.into(),
        tcp: args.tcp,
        raw: !args.unprivileged,
        names: args.names.into(),
        server: args.dns,
        recall: RECALL,
    };
    let mut inventory = Inventory::default();
    let ended = learn(&mut inventory, async |tell| sweep(options, args.show.quiet, tell).await).await;
    output::show_as_ended(&inventory, &output::Run { begun, asked }, args.show, ended)
}

/// The addresses that may be asked, once somebody has said that so many are meant.
pub(super) fn plan(ranges: &[Range], excluded: &[Range], yes: bool) -> Result<Plan, Failure> {
    let plan = Plan::new(ranges, excluded)?;
    if plan.is_large() && !yes {
        return Err(Failure::Large(plan.len()));
    }
    Ok(plan)
}

/// Polls until everything was asked or somebody interrupts.
pub(super) async fn sweep(options: Options, quiet: bool, tell: mpsc::Sender<Fact>) -> Result<(), Failure> {
    run(open(options, quiet).await?, quiet, tell).await
}

/// Opens what a poll needs, with the privileges that are given up then.
pub(super) async fn open(options: Options, quiet: bool) -> Result<Poll, Failure> {
    let poll = Poll::open(options).await?;
    // From here on packets are read, and whoever sends them is not trusted.
    give_up_privileges().map_err(Failure::Privileges)?;
    advise(poll.notes(), quiet);
    Ok(poll)
}

/// Runs a poll to its end, or until somebody interrupts.
pub(super) async fn run(poll: Poll, quiet: bool, tell: mpsc::Sender<Fact>) -> Result<(), Failure> {
    let before = poll.notes().len();
    let (report, showing) = bar::start(quiet);
    let ended = interruptible(async { Ok(poll.run(tell, report).await?) }).await;
    // The bar goes before the table comes.
    let _ = showing.await;
    ended.map(|notes| advise(&notes[before..], quiet))
}

fn advise(notes: &[Note], quiet: bool) {
    if !quiet {
        notes.iter().for_each(|note| eprintln!("klpoll: {note}"));
    }
}

/// One host in ten thousand may be missed.
pub(super) const RECALL: f64 = 0.9999;
