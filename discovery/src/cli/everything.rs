//! Every kind of poll there is: `klpoll all` makes them one after another.
//!
//! One at a time, for what a profile promises is promised of all packets together.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::args::{AllArgs, Everything};
use super::failure::Failure;
use super::gather::{apart, learn, members};
use super::{directory, output, range, windows, zeroconf};
use crate::inventory::Inventory;

/// A kind of poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every address of the ranges, and the names of who answers.
    Range,
    /// NetBIOS names.
    Windows,
    /// Names and builds by SMB of every host that is known.
    Full,
    /// What is announced on the link.
    Zeroconf,
    /// The computers of a directory.
    Directory,
}

/// A kind of poll and how often it is made; never, where there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Kind, pub(super) Option<Duration>);

/// Makes every poll and shows the hosts; one that fails does not keep the others from what they find.
pub(super) async fn main(args: AllArgs) -> Result<(), Failure> {
    let AllArgs { everything, show } = args;
    let asked = range::plan(&everything.ranges, &everything.exclude, everything.yes)?.len();
    let (begun, mut inventory, mut ended) = (SystemTime::now(), Inventory::default(), Ok(()));
    for kind in KINDS {
        match everything.poll(kind, show.quiet, &mut inventory).await {
            Err(Failure::Interrupted) => {
                ended = Err(Failure::Interrupted);
                break;
            }
            Err(failure) if ended.is_err() => eprintln!("klpoll: {failure}"),
            Err(failure) => ended = Err(failure),
            Ok(()) => {}
        }
    }
    output::show_as_ended(&inventory, &output::Run { begun, asked }, show, ended)
}

impl Everything {
    /// Makes a poll of one kind.
    pub(super) async fn poll(
        &self,
        kind: Kind,
        quiet: bool,
        inventory: &mut Inventory,
    ) -> Result<(), Failure> {
        let (profile, from) = (self.profile.into(), self.from);
        let plan = range::plan(&self.ranges, &self.exclude, self.yes)?;
        match kind {
            Kind::Range => {
                let options = windows::with_smb(plan, profile);
                learn(inventory, async |tell| apart(move || range::sweep(options, quiet, tell)).await).await
            }
            Kind::Windows => {
                let poll = async |tell| apart(move || windows::quick(plan, profile, quiet, tell)).await;
                learn(inventory, poll).await
            }
            Kind::Full => {
                let known = windows::addresses(inventory);
                let found = known.into_iter().filter(move |address| plan.index(*address).is_some());
                learn(inventory, async |tell| apart(move || windows::by_smb(found, tell)).await).await
            }
            Kind::Zeroconf => {
                learn(inventory, async |tell| apart(move || zeroconf::listen(from, LISTEN, None, tell)).await)
                    .await
            }
            Kind::Directory => self.read(inventory).await,
        }
    }

    /// Reads the directory, when there is one; what it says replaces what it said before.
    async fn read(&self, inventory: &mut Inventory) -> Result<(), Failure> {
        let Some(server) = &self.directory else { return Ok(()) };
        let (reading, mut shown) = (directory::reading(server, &self.login, None)?, BTreeSet::new());
        let take = |member: crate::directory::Member| {
            shown.insert(member.id);
            inventory.learn_member(&member, SystemTime::now());
        };
        let read = async |tell| apart(move || async move { directory::read(&reading, tell).await }).await;
        members(take, read).await?;
        inventory.keep_members(&shown);
        Ok(())
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not such as range=8h, windows=15m, full=90s or zeroconf=never");
        let (kind, time) = text.split_once('=').ok_or_else(wrong)?;
        let kind = KINDS.into_iter().find(|known| known.word() == kind).ok_or_else(wrong)?;
        if time == "never" {
            return Ok(Self(kind, None));
        }
        let (number, unit) = time.split_at_checked(time.len().saturating_sub(1)).ok_or_else(wrong)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        match u64::from(number) * unit {
            0 => Err(wrong()),
            seconds => Ok(Self(kind, Some(Duration::from_secs(seconds)))),
        }
    }
}

impl Kind {
    /// Its name on the command line.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Windows => "windows",
            Self::Full => "full",
            Self::Zeroconf => "zeroconf",
            Self::Directory => "directory",
        }
    }
}

/// Who is there comes first: others ask them.
pub(super) const KINDS: [Kind; 5] = [Kind::Range, Kind::Windows, Kind::Full, Kind::Zeroconf, Kind::Directory];
/// As `klpoll zeroconf` does.
const LISTEN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_kind_and_a_time() {
        let read = |text: &str| text.parse::<Interval>();
        assert_eq!(read("range=7h"), Ok(Interval(Kind::Range, Some(Duration::from_secs(7 * 3600)))));
        assert_eq!(read("full=90s"), Ok(Interval(Kind::Full, Some(Duration::from_secs(90)))));
        assert_eq!(read("zeroconf=never"), Ok(Interval(Kind::Zeroconf, None)));
        for text in
            ["range", "range=", "range=0h", "range=7", "range=-1h", "range=7é", "dhcp=7h", "range=1.5h"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
