//! Which addresses a tunnel to another host may never reach, in whatever form they come.
//!
//! The address checked is the one dialled: a name is resolved once, so a second answer (DNS rebinding) has no effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the device, the relay and the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnAddresses(Vec<IpAddr>);

/// Why an address may not be reached through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ForbiddenAddress {
    /// `0.0.0.0/8` (RFC 791, 3.2) or `::` (RFC 4291, 2.5.2).
    #[error("the address means this host")]
    Unspecified,
    /// `127.0.0.0/8` (RFC 1122, 3.2.1.3) or `::1` (RFC 4291, 2.5.3).
    #[error("the address is a loopback")]
    Loopback,
    /// `169.254.0.0/16` (RFC 3927), `fe80::/10` (RFC 4291, 2.5.6) or the old `fec0::/10` (RFC 3879).
    #[error("the address is link-local")]
    LinkLocal,
    /// A service of the cloud the device runs in; it gives credentials to whoever asks.
    #[error("the address is a cloud metadata service")]
    Metadata,
    /// `224.0.0.0/4` (RFC 5771) or `ff00::/8` (RFC 4291, 2.7).
    #[error("the address is multicast")]
    Multicast,
    /// `255.255.255.255` (RFC 919, 7).
    #[error("the address is the broadcast address")]
    Broadcast,
    /// Set aside and never routed: documentation, protocol assignments, discard, future use (RFC 6890).
    #[error("the address is reserved and belongs to no host")]
    Reserved,
    /// A translation or tunnel whose end cannot be told from the address (Teredo, RFC 4380; RFC 8215).
    #[error("the address hides where it leads")]
    Hidden,
    /// An address of the device, the relay or the server.
    #[error("the address belongs to the device, the relay or the server")]
    Own,
}

/// Checks an address, and the IPv4 address inside it when it carries one.
///
/// # Errors
/// [`ForbiddenAddress`] says which rule forbids it.
pub fn check(address: IpAddr, own: &OwnAddresses) -> Result<(), ForbiddenAddress> {
    if own.contains(address) {
        return Err(ForbiddenAddress::Own);
    }
    match address {
        IpAddr::V4(address) => check_v4(address),
        IpAddr::V6(address) => {
            // The prefix first: an address that no host has leads nowhere, whatever IPv4 address it ends in.
            check_v6(address)?;
            embedded(address).map_or(Ok(()), |inner| check(inner.into(), own))
        }
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), ForbiddenAddress> {
    if METADATA_V4.contains(&address) {
        return Err(ForbiddenAddress::Metadata);
    }
    Err(match address.octets() {
        [0, ..] => ForbiddenAddress::Unspecified,
        [127, ..] => ForbiddenAddress::Loopback,
        [169, 254, ..] => ForbiddenAddress::LinkLocal,
        [224..=239, ..] => ForbiddenAddress::Multicast,
        [255, 255, 255, 255] => ForbiddenAddress::Broadcast,
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => {
            ForbiddenAddress::Reserved
        }
        _ => return Ok(()),
    })
}

fn check_v6(address: Ipv6Addr) -> Result<(), ForbiddenAddress> {
    if METADATA_V6.contains(&address) {
        return Err(ForbiddenAddress::Metadata);
    }
    Err(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => ForbiddenAddress::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => ForbiddenAddress::Loopback,
        [0xfe80..=0xfeff, ..] => ForbiddenAddress::LinkLocal,
        [0xff00..=0xffff, ..] => ForbiddenAddress::Multicast,
        // Teredo keeps the client's address inverted, and the relay's choice decides where it leads.
        [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..] => ForbiddenAddress::Hidden,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x100, 0, 0, 0, ..] => ForbiddenAddress::Reserved,
        _ => return Ok(()),
    })
}

/// The IPv4 address that packets to this address end up at.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // IPv4-compatible and IPv4-mapped (RFC 4291, 2.5.5), IPv4-translated (RFC 2765, 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] => Some(inner(g, h)),
        // NAT64 by its well-known prefix (RFC 6052, 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(inner(g, h)),
        // 6to4 (RFC 3056, 2).
        [0x2002, high, low, ..] => Some(inner(high, low)),
        // ISATAP under any prefix (RFC 5214, 6.1).
        [.., 0 | 0x200, 0x5efe] => Some(inner(g, h)),
        _ => None,
    }
}

impl OwnAddresses {
    /// Takes the addresses in any order and form.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().map(|address| address.to_canonical()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.binary_search(&address.to_canonical()).is_ok()
    }
}

/// AWS, Azure, Google and most others; Azure's host; Alibaba; Oracle.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS and Google.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

#[cfg(test)]
mod tests;
