//! `klpoll watch`: polls at intervals, and prints what changes.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};

use super::args::WatchArgs;
use super::everything::Among;
use super::failure::Failure;
use super::interval::{Interval, KINDS, Kind};
use super::print::print;
use super::range;
use crate::inventory::{Change, Face, Inventory, Watched};
use crate::schedule::Schedule;

/// Polls until it is told to stop. A poll that fails says so and is made again at its next turn.
pub(super) async fn main(args: WatchArgs) -> Result<(), Failure> {
    range::plan(&args.everything.ranges, &args.everything.exclude, args.everything.yes)?;
    let mut schedule = Schedule::new(Instant::now(), intervals(&args));
    let (mut inventory, mut watched) = (Inventory::default(), Watched::default());
    let mut stop = Stop::new().map_err(Failure::Runtime)?;
    while let Some((due, kind)) = schedule.next() {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = stop.wanted() => return Ok(()),
        }
        let polled = tokio::select! {
            polled = args.everything.poll(kind, Among::All, true, &mut inventory) => polled,
            () = stop.wanted() => return Ok(()),
        };
        if let Err(failure) = polled {
            eprintln!("klpoll: {}: {failure}", kind.word());
        }
        schedule.done(Instant::now(), kind);
        inventory.expire(SystemTime::now());
        for (change, face) in watched.look(&inventory) {
            print((line(SystemTime::now(), change, &face, args.json) + "\n").as_bytes())?;
        }
    }
    Ok(())
}

/// The product's intervals, or those that were said; a directory where there is one.
fn intervals(args: &WatchArgs) -> Vec<(Kind, Duration)> {
    let is_possible = |kind| kind != Kind::Directory || args.everything.directory.is_some();
    let said = |kind| args.every.iter().rev().find(|Interval(said, _)| *said == kind);
    let every = |kind| said(kind).map_or(Some(usual(kind)), |Interval(_, every)| *every);
    KINDS
        .into_iter()
        .filter(|kind| is_possible(*kind))
        .filter_map(|kind| Some((kind, every(kind)?)))
        .collect()
}

/// How often it is made where nobody says otherwise: as administrators know it.
const fn usual(kind: Kind) -> Duration {
    Duration::from_secs(match kind {
        Kind::Range => 420 * 60,
        Kind::Windows | Kind::Zeroconf => 15 * 60,
        Kind::Full | Kind::Directory => 60 * 60,
    })
}

/// A change as programs read it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    change: &'static str,
    addresses: Vec<String>,
    name: Option<&'a str>,
    macs: Vec<String>,
    system: Option<&'a str>,
}

fn line(now: SystemTime, change: Change, face: &Face, json: bool) -> String {
    let line = Line {
        time: OffsetDateTime::from(now)
            .replace_nanosecond(0)
            .ok()
            .and_then(|now| now.format(&Rfc3339).ok())
            .unwrap_or_default(),
        change: match change {
            Change::New => "new",
            Change::Changed => "changed",
            Change::Gone => "gone",
        },
        addresses: face.addresses.iter().map(ToString::to_string).collect(),
        name: face.name.as_ref().map(crate::name::Text::as_str),
        macs: face.macs.iter().map(ToString::to_string).collect(),
        system: face.system.as_ref().map(crate::name::Text::as_str),
    };
    if json {
        return serde_json::to_string(&line).expect("text keys only");
    }
    let Line { time, change, addresses, name, macs, system } = line;
    let parts = [&addresses.join(" "), name.unwrap_or_default(), &macs.join(" "), system.unwrap_or_default()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{time} {change:<7} {}", parts.join("  "))
}

/// Who may stop it: a person, or whoever runs services.
struct Stop([tokio::signal::unix::Signal; 2]);

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    async fn wanted(&mut self) {
        let [interrupted, terminated] = &mut self.0;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::Mac;
    use crate::name::Text;

    #[test]
    fn a_change_is_a_line() {
        let face = Face {
            addresses: [[10, 1, 0, 7].into()].into(),
            name: Text::new("web-7"),
            macs: [Mac([2, 0, 0, 0, 0, 7])].into(),
            system: None,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(
            line(now, Change::New, &face, false),
            "2027-01-15T08:00:00Z new     10.1.0.7  web-7  02:00:00:00:00:07"
        );
        assert_eq!(
            line(now, Change::Gone, &face, true),
            "{\"time\":\"2027-01-15T08:00:00Z\",\"change\":\"gone\",\"addresses\":[\"10.1.0.7\"],\
             \"name\":\"web-7\",\"macs\":[\"02:00:00:00:00:07\"],\"system\":null}"
        );
    }
}
