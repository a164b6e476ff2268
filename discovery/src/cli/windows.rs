//! `klpoll windows`: names, domains and versions of Windows machines and Samba servers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use futures_util::future::join_all;
use futures_util::stream::poll_fn;
use tokio::sync::{mpsc, watch};

use super::args::WindowsArgs;
use super::failure::Failure;
use super::gather::{FACTS, apart, interruptible, learn};
use super::output;
use super::range::{self, RECALL, plan, sweep};
use crate::fact::Fact;
use crate::inventory::Inventory;
use crate::net::{Find, Names, Options, discover, give_up_privileges, link_names, links_into, smb_names};
use crate::plan::Plan;
use crate::profile::Profile;

/// Asks, and shows the hosts.
pub(super) async fn main(args: WindowsArgs) -> Result<(), Failure> {
    let plan = plan(&args.ranges, &args.exclude, args.yes)?;
    let (asked, begun) = (plan.len(), SystemTime::now());
    let (profile, quiet, mut inventory) = (args.profile.into(), args.show.quiet, Inventory::default());
    let ended = if args.full {
        full(plan, profile, quiet, &mut inventory).await
    } else {
        let quick = Quick { asked: Some(plan.clone()), known: Vec::new(), plan, profile, quiet };
        learn(&mut inventory, async |tell| quick.run(tell).await).await
    };
    output::show_as_ended(&inventory, &output::Run { begun, asked }, args.show, ended)
}

/// Every host of the ranges, and everything it says of itself.
async fn full(plan: Plan, profile: Profile, quiet: bool, inventory: &mut Inventory) -> Result<(), Failure> {
    let options = with_smb(plan.clone(), profile);
    learn(inventory, async |tell| apart(move || sweep(options, quiet, tell)).await).await?;
    let known = addresses(inventory);
    let quick = Quick { asked: Plan::of(known.clone()), known: known.clone(), plan, profile, quiet };
    learn(inventory, async |tell| apart(move || quick.run(tell)).await).await?;
    learn(inventory, async |tell| by_smb(known, profile, tell).await).await
}

/// What machines say to everybody: their names by NetBIOS, and that they are there by WS-Discovery, at once, for most of the
/// time is spent waiting; then of those who are there, their names by LLMNR. That has a pace of its own, which would come on
/// top of the profile's.
pub(super) struct Quick {
    /// Who else has answered is nobody.
    pub(super) plan: Plan,
    /// Who is asked for NetBIOS names.
    pub(super) asked: Option<Plan>,
    /// Who is there for certain.
    pub(super) known: Vec<IpAddr>,
    pub(super) profile: Profile,
    pub(super) quiet: bool,
}

impl Quick {
    pub(super) async fn run(self, tell: mpsc::Sender<Fact>) -> Result<(), Failure> {
        let Self { plan, asked, known, profile, quiet } = self;
        let links = links_into(&plan).await?;
        let poll = match asked {
            Some(asked) => Some(range::open(netbios(asked, profile), quiet).await?),
            None => None,
        };
        give_up_privileges().map_err(Failure::Privileges)?;
        let (heard, mut facts) = mpsc::channel::<Fact>(FACTS);
        let (over, is_over) = watch::channel(false);
        let finding = async {
            let (heard, is_asked) = (heard, |address| plan.index(address).is_some());
            let announced = async {
                let all = links.iter().map(|own| discover(*own, is_asked, &heard));
                log(join_all(all).await, "WS-Discovery");
                Ok(())
            };
            let polled = async {
                let ended = match poll {
                    Some(poll) => range::run(poll, quiet, heard.clone()).await,
                    None => Ok(()),
                };
                over.send_replace(true);
                ended
            };
            tokio::try_join!(polled, announced).map(drop)
        };
        let (named, asking): (Vec<_>, Vec<_>) = links
            .iter()
            .map(|own| {
                // Each address of the plan comes once.
                let (named, mut hosts) = mpsc::unbounded_channel();
                let hosts = poll_fn(move |context| hosts.poll_recv(context));
                let (mut is_over, tell) = (is_over.clone(), &tell);
                let asking = async move {
                    // Or nobody polls any more.
                    let _ = is_over.wait_for(|over| *over).await;
                    link_names(*own, hosts, tell).await
                };
                (named, asking)
            })
            .unzip();
        let passing = async {
            // The questions of a link end when there is nobody to come.
            let (named, mut seen) = (named, BTreeSet::new());
            for host in known {
                seen.insert(host);
                announce(&named, host);
            }
            while let Some(fact) = facts.recv().await {
                if seen.insert(fact.address) {
                    announce(&named, fact.address);
                }
                // Nobody listens any more: the poll ends by itself.
                let _ = tell.send(fact).await;
            }
        };
        let (ended, asked, ()) = tokio::join!(finding, join_all(asking), passing);
        log(asked, "LLMNR");
        ended
    }
}

/// A host is to be asked on its link; a link that cannot be asked any more takes none.
fn announce(links: &[mpsc::UnboundedSender<IpAddr>], host: IpAddr) {
    for link in links {
        let _ = link.send(host);
    }
}

/// Where a link cannot be asked there is nobody to ask.
fn log(ended: Vec<std::io::Result<()>>, by: &str) {
    for error in ended.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, by, "a link cannot be asked");
    }
}

/// Names and builds of those whose SMB servers tell them.
pub(super) async fn by_smb(
    hosts: impl IntoIterator<Item = IpAddr>,
    profile: Profile,
    tell: mpsc::Sender<Fact>,
) -> Result<(), Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let asking = async {
        smb_names(hosts, profile, &tell).await;
        Ok(())
    };
    interruptible(asking).await
}

/// A poll of ranges that also finds hosts which answer at the port of SMB alone.
pub(super) fn with_smb(plan: Plan, profile: Profile) -> Options {
    let (find, names) = (Find::Hosts, Names::Alive);
    Options { plan, find, profile, tcp: vec![SMB], raw: true, names, server: None, recall: RECALL }
}

fn netbios(plan: Plan, profile: Profile) -> Options {
    let (find, names) = (Find::NetBios, Names::None);
    Options { plan, find, profile, tcp: Vec::new(), raw: true, names, server: None, recall: RECALL }
}

/// Every address that somebody has.
pub(super) fn addresses(inventory: &Inventory) -> Vec<IpAddr> {
    inventory.hosts().flat_map(|(_, host)| host.addresses.keys().copied()).collect()
}

const SMB: u16 = 445;
