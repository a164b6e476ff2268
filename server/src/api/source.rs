//! Where a connection comes from, as limits count it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One subscriber: an IPv4 address, or the /64 of an IPv6 address, since whoever has one address of a /64 has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & PREFIX)),
        })
    }
}

/// The first 64 bits of an IPv6 address.
const PREFIX: u128 = !0 << 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_source_whatever_the_form_of_the_address() {
        let same = |a, b| source(a) == source(b);
        assert!(same("192.0.2.1:1", "192.0.2.1:2"));
        assert!(same("192.0.2.1:1", "[::ffff:192.0.2.1]:2"));
        assert!(same("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:1"));
        assert!(!same("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1"));
        assert!(!same("192.0.2.1:1", "192.0.2.2:1"));
    }

    fn source(address: &str) -> Source {
        address.parse::<SocketAddr>().unwrap().into()
    }
}
