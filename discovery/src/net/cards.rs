//! This machine's own network cards, and the networks that it is in by them.

use std::net::{IpAddr, Ipv4Addr};

use super::PollError;
use super::route::{self, Interface};
use crate::mac::Mac;
use crate::plan::Plan;
use crate::range::Range;

/// A network that this machine is in by one of its cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface's number.
    pub index: u32,
    /// The interface's name.
    pub name: String,
    /// The card's own address.
    pub mac: Mac,
    /// Own addresses, and the length of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Addresses of this machine's network cards, in order: whoever finds one of them has found this machine.
///
/// # Errors
/// [`PollError::Routes`].
pub async fn own_cards() -> Result<Vec<Mac>, PollError> {
    let routes = route::read().await.map_err(PollError::Routes)?;
    let mut cards: Vec<_> = routes.interfaces.values().filter_map(|interface| interface.mac).collect();
    cards.sort_unstable();
    cards.dedup();
    Ok(cards)
}

/// Own addresses in networks that have addresses of the plan, one for each link.
///
/// # Errors
/// [`PollError::Routes`].
pub async fn links_into(plan: &Plan) -> Result<Vec<Ipv4Addr>, PollError> {
    let is_in = |own: IpAddr, bits: u8| plan.inside(&Range::subnet(own, bits)).is_some();
    let into = |link: Link| {
        let mut own = link.addresses.into_iter().filter(|(own, bits)| is_in(*own, *bits));
        own.find_map(|(own, _)| if let IpAddr::V4(own) = own { Some(own) } else { None })
    };
    Ok(own_links().await?.into_iter().filter_map(into).collect())
}

/// The networks that this machine is in by a card, in the order of their numbers.
///
/// # Errors
/// [`PollError::Routes`].
pub async fn own_links() -> Result<Vec<Link>, PollError> {
    let routes = route::read().await.map_err(PollError::Routes)?;
    let link = |Interface { index, name, mac, addresses }| Some(Link { index, name, mac: mac?, addresses });
    let mut links: Vec<_> = routes.interfaces.into_values().filter_map(link).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}
