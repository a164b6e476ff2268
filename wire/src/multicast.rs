//! The multicast groups of agents: one number is an address of IPv4 and one of IPv6 that no other agent has.
//!
//! ```text
//! 239.192.0.0/15   239.192.0.0 + number            organisation-local (RFC 2365), an agent's own
//! 239.194.0.0/15                                   groups that senders draw for themselves, as klcast does
//! ff15::8000:0     ff15:: + 0x8000_0000 + number   transient, site-local, dynamic (RFC 4291, RFC 3307)
//! ```
//! An Ethernet address has the low 23 bits of an IPv4 group and the low 32 of an IPv6 one (RFC 1112, RFC 2464). A number
//! has 17, so two agents never share one, and none is near 01:00:5e:00:00:xx, which switches flood (RFC 4541).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The groups of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentGroup(u32);

impl AgentGroup {
    /// How many there are.
    pub const COUNT: u32 = 1 << 17;

    /// The groups with this number; `None` above the last.
    pub const fn new(number: u32) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The IPv4 group.
    pub const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(V4 + self.0)
    }

    /// The IPv6 group.
    pub const fn v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(V6 + self.0 as u128)
    }
}

/// 239.192.0.0.
const V4: u32 = u32::from_be_bytes([239, 192, 0, 0]);
/// ff15::8000:0.
const V6: u128 = (0xff15 << 112) + 0x8000_0000;
/// Where agents listen for multicast.
pub const MULTICAST_PORT: u16 = 15_001;
/// Where a distribution point serves files.
pub const FILES_PORT: u16 = 13_000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_agents_share_an_address_of_ip_or_of_ethernet() {
        let (mut v4, mut v6) = (HashSet::new(), HashSet::new());
        for group in (0..AgentGroup::COUNT).filter_map(AgentGroup::new) {
            assert!(v4.insert(group.v4().to_bits() & 0x7f_ffff), "{group:?}");
            assert!(v6.insert(group.v6().to_bits() & 0xffff_ffff), "{group:?}");
        }
        assert_eq!((v4.len(), AgentGroup::new(AgentGroup::COUNT)), (131_072, None));
    }

    #[test]
    fn groups_stay_in_their_block_and_away_from_what_switches_flood() {
        let (first, last) = (AgentGroup::new(0).unwrap(), AgentGroup::new(AgentGroup::COUNT - 1).unwrap());
        assert_eq!(
            (first.v4(), last.v4()),
            (Ipv4Addr::new(239, 192, 0, 0), Ipv4Addr::new(239, 193, 255, 255))
        );
        assert_eq!(first.v6().to_string(), "ff15::8000:0");
        assert_eq!(last.v6().to_string(), "ff15::8001:ffff");
        assert!(first.v4().to_bits() & 0x7f_ffff > 0xff, "224.0.0.x has the lowest Ethernet addresses");
    }
}
