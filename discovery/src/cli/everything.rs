//! Every kind of poll there is: `klpoll all` makes them one after another.
//!
//! One at a time, for what a profile promises is promised of all packets together.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use super::args::{AllArgs, Everything};
use super::failure::Failure;
use super::gather::{apart, learn, members};
use super::interval::{KINDS, Kind};
use super::windows::Quick;
use super::{directory, output, range, windows, zeroconf};
use crate::inventory::Inventory;
use crate::net::links_into;
use crate::plan::Plan;

/// Makes every poll and shows the hosts; one that fails does not keep the others from what they find.
pub(super) async fn main(args: AllArgs) -> Result<(), Failure> {
    let AllArgs { everything, show } = args;
    let asked = range::plan(&everything.ranges, &everything.exclude, everything.yes)?.len();
    let (begun, mut inventory, mut ended) = (SystemTime::now(), Inventory::default(), Ok(()));
    for kind in KINDS {
        match everything.poll(kind, Among::Known, show.quiet, &mut inventory).await {
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

/// Who is asked by a protocol that costs much where nobody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// Who was found just now.
    Known,
    /// Everybody: that was some time ago.
    All,
}

impl Everything {
    /// Makes a poll of one kind.
    pub(super) async fn poll(
        &self,
        kind: Kind,
        among: Among,
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
                let known = known_in(&plan, inventory);
                let asked = match among {
                    Among::Known => Plan::of(known.iter().copied()),
                    Among::All => Some(plan.clone()),
                };
                let quick = Quick { plan, asked, known, profile, quiet };
                learn(inventory, async |tell| apart(move || quick.run(tell)).await).await
            }
            Kind::Full => {
                let found = known_in(&plan, inventory);
                learn(inventory, async |tell| apart(move || windows::by_smb(found, profile, tell)).await)
                    .await
            }
            Kind::Zeroconf => {
                let links = match from {
                    Some(from) => vec![Some(from)],
                    None => links_of(&plan).await?,
                };
                for from in links {
                    let listen = async |tell| apart(move || zeroconf::listen(from, LISTEN, None, tell)).await;
                    learn(inventory, listen).await?;
                }
                Ok(())
            }
            Kind::Directory => self.read(inventory).await,
        }
    }

    /// Reads the directory, when there is one; what it says replaces what it said before.
    async fn read(&self, inventory: &mut Inventory) -> Result<(), Failure> {
        let Some(of) = &self.directory else { return Ok(()) };
        let (reading, mut shown) = (directory::reading(of, &self.login, None)?, BTreeSet::new());
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

/// Where to listen: on the links that the plan is about, or on that of the default route.
async fn links_of(plan: &Plan) -> Result<Vec<Option<Ipv4Addr>>, Failure> {
    let links: Vec<_> = links_into(plan).await?.into_iter().map(Some).collect();
    Ok(if links.is_empty() { vec![None] } else { links })
}

/// Addresses of the plan where somebody is known.
fn known_in(plan: &Plan, inventory: &Inventory) -> Vec<IpAddr> {
    windows::addresses(inventory).into_iter().filter(|address| plan.index(*address).is_some()).collect()
}

/// As `klpoll zeroconf` does.
const LISTEN: Duration = Duration::from_secs(3);
