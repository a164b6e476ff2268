//! `klpoll zeroconf`: hosts that announce themselves on the link, or answer there when all are asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::args::ZeroconfArgs;
use super::failure::Failure;
use super::gather::{interruptible, learn};
use super::output;
use crate::fact::Fact;
use crate::inventory::Inventory;
use crate::net::{AllNodes, browse, give_up_privileges};

/// Listens for a while, and shows the hosts.
pub(super) async fn main(args: ZeroconfArgs) -> Result<(), Failure> {
    let (begun, mut inventory) = (SystemTime::now(), Inventory::default());
    let ended =
        learn(&mut inventory, async |tell| listen(args.from, args.patience(), args.lull(), tell).await).await;
    output::show_as_ended(&inventory, &output::Run { begun, asked: 0 }, args.show, ended)
}

/// Listens on the interface with this address, or on that of the default route.
pub(super) async fn listen(
    from: Option<Ipv4Addr>,
    patience: Duration,
    lull: Option<Duration>,
    tell: mpsc::Sender<Fact>,
) -> Result<(), Failure> {
    let own = from.or_else(default_address).ok_or(Failure::NoInterface)?;
    let nodes = AllNodes::open(own).await.inspect_err(|error| tracing::debug!(%error, "all nodes")).ok();
    give_up_privileges().map_err(Failure::Privileges)?;
    let asking = async {
        if let Some(nodes) = nodes {
            let asked = nodes.run(&tell).await;
            asked.unwrap_or_else(|error| tracing::debug!(%error, "all nodes"));
        }
        // Who announces nothing has answered by then, or is silent.
        std::future::pending().await
    };
    let listening = async {
        tokio::select! {
            listened = browse(own, patience, lull, &tell) => listened.map_err(Failure::Listen),
            never = asking => never,
        }
    };
    interruptible(listening).await
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
