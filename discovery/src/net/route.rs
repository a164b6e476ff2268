//! The routes, addresses and interfaces of this machine, as the kernel tells them.
//!
//! Only the main table is read: where rules lead elsewhere, the main table is what an administrator sees too.

use std::collections::HashMap;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Error, Handle, RouteMessageBuilder};

use crate::mac::Mac;
use crate::range::Range;

/// What leads where.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
    pub(super) interfaces: HashMap<u32, Interface>,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) range: Range,
    pub(super) bits: u8,
    pub(super) metric: u32,
    /// None when what it leads to is refused.
    pub(super) way: Option<Way>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) interface: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
}

/// A card, or what looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Of an Ethernet card that speaks ARP.
    pub(super) mac: Option<Mac>,
    /// Own addresses, and the length of their prefixes.
    pub(super) addresses: Vec<(IpAddr, u8)>,
}

/// The number of the interface that has this address.
pub(super) async fn interface_of(own: IpAddr) -> Option<u32> {
    let interfaces = read().await.ok()?.interfaces;
    let is_it = |interface: &&Interface| interface.addresses.iter().any(|(address, _)| *address == own);
    interfaces.values().find(is_it).map(|interface| interface.index)
}

/// Asks the kernel for everything at once.
pub(super) async fn read() -> Result<Routes, Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| Error::NamespaceError(error.to_string()))?;
    let serving = tokio::spawn(connection);
    let routes = read_by(&handle).await;
    serving.abort();
    routes
}

async fn read_by(handle: &Handle) -> Result<Routes, Error> {
    let mut routes = Routes::default();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let attributes = &link.attributes;
        let is_card = link.header.link_layer_type == LinkLayerType::Ether
            && !link.header.flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback);
        let name = attributes
            .iter()
            .find_map(|a| if let LinkAttribute::IfName(name) = a { Some(name) } else { None });
        let mac = attributes
            .iter()
            .find_map(|a| if let LinkAttribute::Address(mac) = a { Some(mac) } else { None });
        let mac = mac.filter(|_| is_card).and_then(|mac| mac.first_chunk()).copied().map(Mac);
        let (index, name) = (link.header.index, name.cloned().unwrap_or_default());
        routes.interfaces.insert(index, Interface { index, name, mac, addresses: Vec::new() });
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await? {
        // The local end of a point-to-point link stands in Local, everything else in Address.
        let local = address
            .attributes
            .iter()
            .find_map(|a| if let AddressAttribute::Local(own) = a { Some(*own) } else { None });
        let plain = address
            .attributes
            .iter()
            .find_map(|a| if let AddressAttribute::Address(own) = a { Some(*own) } else { None });
        if let Some(interface) = routes.interfaces.get_mut(&address.header.index)
            && let Some(own) = local.or(plain)
        {
            interface.addresses.push((own, address.header.prefix_len));
        }
    }
    let asked = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for question in asked {
        let unspecified: IpAddr = match u8::from(question.header.address_family) {
            2 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            _ => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut answers = handle.route().get(question).execute();
        while let Some(message) = answers.try_next().await? {
            routes.routes.extend(route(&message, unspecified));
        }
    }
    Ok(routes)
}

fn route(message: &RouteMessage, unspecified: IpAddr) -> Option<Route> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut destination, mut metric) = (unspecified, 0);
    let (mut interface, mut gateway, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            // Of several ways to the same place one is as good as the other.
            RouteAttribute::MultiPath(hops) => {
                let hop = hops.first()?;
                interface = Some(hop.interface_index);
                gateway = hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let bits = message.header.destination_prefix_length;
    let leads = message.header.kind == RouteType::Unicast;
    let way = interface.filter(|_| leads).map(|interface| Way { interface, gateway, source });
    Some(Route { range: Range::subnet(destination, bits), bits, metric, way })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
