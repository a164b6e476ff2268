//! `klpoll zeroconf`: hosts that announce themselves on the link.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::args::ZeroconfArgs;
use super::failure::Failure;
use super::output;
use super::range::{FACTS, gather};
use crate::net::{browse, give_up_privileges};

/// Listens for a while, and shows the hosts.
pub(super) async fn main(args: ZeroconfArgs) -> Result<(), Failure> {
    give_up_privileges().map_err(Failure::Privileges)?;
    let own = args.from.or_else(default_address).ok_or(Failure::NoInterface)?;
    let begun = SystemTime::now();
    let (tell, facts) = mpsc::channel(FACTS);
    let patience = args.patience();
    // The channel closes with its sender, and with it the inventory is complete.
    let browsing = async move {
        let tell = tell;
        browse(own, patience, &tell).await
    };
    let (inventory, ended) = tokio::join!(gather(facts), browsing);
    ended.map_err(Failure::Listen)?;
    output::show(&inventory, &output::Run { begun, asked: 0 }, args.show)
}

/// The address that the default route leaves from: connecting a datagram socket asks the kernel and sends nothing.
pub(super) fn default_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((ANYWHERE, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(own) => Some(own),
        std::net::IpAddr::V6(_) => None,
    }
}

/// Somewhere else (RFC 5737).
const ANYWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
