//! `klpoll windows`: names, domains and versions of Windows machines and Samba servers.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::args::WindowsArgs;
use super::failure::Failure;
use super::gather::{interruptible, learn};
use super::range::{RECALL, plan, sweep};
use super::zeroconf::default_address;
use super::{bar, output};
use crate::fact::Fact;
use crate::inventory::Inventory;
use crate::net::{Names, Options, discover, give_up_privileges, link_names, node_status, smb_names};
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
        quick_and_names(plan, profile, quiet, &mut inventory).await
    };
    output::show_as_ended(&inventory, &output::Run { begun, asked }, args.show, ended)
}

/// Everybody's NetBIOS names, and other names of who is known then.
async fn quick_and_names(
    plan: Plan,
    profile: Profile,
    quiet: bool,
    inventory: &mut Inventory,
) -> Result<(), Failure> {
    learn(inventory, async |tell| quick(plan, profile, quiet, tell).await).await?;
    let found = addresses(inventory);
    learn(inventory, async |tell| by_link(found, tell).await).await
}

/// Asks for NetBIOS names, and on the link for who says that it is there.
pub(super) async fn quick(
    plan: Plan,
    profile: Profile,
    quiet: bool,
    tell: mpsc::Sender<Fact>,
) -> Result<(), Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let (report, showing) = bar::start(quiet);
    let asking = async {
        let report = report;
        // Where there is no such link there is nobody to ask.
        let link = async {
            if let Some(own) = default_address() {
                let found = discover(own, LINK, &tell).await;
                found.unwrap_or_else(|error| tracing::debug!(%error, "WS-Discovery"));
            }
        };
        let ended = tokio::join!(node_status(plan, profile, &tell, &report), link).0;
        ended.map_err(|error| Failure::Poll(error.into()))
    };
    let ended = interruptible(asking).await;
    let _ = showing.await;
    ended
}

/// Every host of the ranges, by name where its SMB server says one.
async fn full(plan: Plan, profile: Profile, quiet: bool, inventory: &mut Inventory) -> Result<(), Failure> {
    let options = with_smb(plan, profile);
    learn(inventory, async |tell| sweep(options, quiet, tell).await).await?;
    let found = addresses(inventory);
    learn(inventory, async |tell| by_smb(found.clone(), tell).await).await?;
    learn(inventory, async |tell| by_link(found, tell).await).await
}

/// Names and builds of those whose SMB servers tell them.
pub(super) async fn by_smb(
    hosts: impl IntoIterator<Item = IpAddr>,
    tell: mpsc::Sender<Fact>,
) -> Result<(), Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let asking = async {
        smb_names(hosts, &tell).await;
        Ok(())
    };
    interruptible(asking).await
}

/// Names of those on the link, as each says its own (LLMNR).
pub(super) async fn by_link(
    hosts: impl IntoIterator<Item = IpAddr>,
    tell: mpsc::Sender<Fact>,
) -> Result<(), Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let asking = async {
        // Where there is no such link there is nobody to ask.
        if let Some(own) = default_address() {
            let asked = link_names(own, hosts, &tell).await;
            asked.unwrap_or_else(|error| tracing::debug!(%error, "LLMNR"));
        }
        Ok(())
    };
    interruptible(asking).await
}

/// A poll of ranges that also finds hosts which answer at the port of SMB alone.
pub(super) fn with_smb(plan: Plan, profile: Profile) -> Options {
    Options { plan, profile, tcp: vec![SMB], raw: true, names: Names::Alive, server: None, recall: RECALL }
}

/// Every address that somebody has.
pub(super) fn addresses(inventory: &Inventory) -> Vec<IpAddr> {
    inventory.hosts().flat_map(|(_, host)| host.addresses.keys().copied()).collect()
}

const SMB: u16 = 445;
/// WS-Discovery answers come within half a second (its APP_MAX_DELAY), twice.
const LINK: Duration = Duration::from_millis(1500);
