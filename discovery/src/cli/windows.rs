//! `klpoll windows`: names, domains and versions of Windows machines and Samba servers.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::args::WindowsArgs;
use super::failure::Failure;
use super::range::{FACTS, RECALL, gather, plan, poll};
use super::zeroconf::default_address;
use super::{bar, output};
use crate::inventory::Inventory;
use crate::net::{Names, Options, discover, give_up_privileges, node_status, smb_names};
use crate::plan::Plan;

/// Asks, and shows the hosts.
pub(super) async fn main(args: WindowsArgs) -> Result<(), Failure> {
    let plan = plan(&args.ranges, &args.exclude, args.yes)?;
    let (asked, begun) = (plan.len(), SystemTime::now());
    let inventory = if args.full { full(plan, &args).await? } else { quick(plan, &args).await? };
    output::show(&inventory, &output::Run { begun, asked }, args.show)
}

/// NetBIOS names of the ranges, and who says on the link that it is there.
async fn quick(plan: Plan, args: &WindowsArgs) -> Result<Inventory, Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let (tell, facts) = mpsc::channel(FACTS);
    let (report, showing) = bar::start(args.show.quiet);
    let asking = async {
        let (tell, report) = (tell, report);
        // Where there is no such link there is nobody to ask.
        let link = async {
            if let Some(own) = default_address() {
                let found = discover(own, LINK, &tell).await;
                found.unwrap_or_else(|error| tracing::debug!(%error, "WS-Discovery"));
            }
        };
        tokio::join!(node_status(plan, args.profile.into(), &tell, &report), link).0
    };
    let (inventory, ended) = tokio::join!(gather(facts), asking);
    let _ = showing.await;
    ended.map_err(|error| Failure::Poll(error.into()))?;
    Ok(inventory)
}

/// Every host of the ranges, by name where its SMB server says one.
async fn full(plan: Plan, args: &WindowsArgs) -> Result<Inventory, Failure> {
    let options = Options {
        plan,
        profile: args.profile.into(),
        tcp: vec![SMB],
        raw: true,
        names: Names::Alive,
        server: None,
        recall: RECALL,
    };
    let (mut inventory, ended) = poll(options, args.show.quiet).await?;
    ended?;
    let found: Vec<IpAddr> = inventory.hosts().flat_map(|(_, host)| host.addresses.keys().copied()).collect();
    let (tell, mut facts) = mpsc::channel(FACTS);
    let asking = async {
        let tell = tell;
        smb_names(found, &tell).await;
    };
    let learning = async {
        while let Some(fact) = facts.recv().await {
            inventory.learn(&fact);
        }
    };
    tokio::join!(asking, learning);
    Ok(inventory)
}

const SMB: u16 = 445;
/// WS-Discovery answers come within half a second (its APP_MAX_DELAY), twice.
const LINK: Duration = Duration::from_millis(1500);
