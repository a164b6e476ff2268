//! What a packet socket is opened for.

/// Which answers a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Want {
    /// ARP replies.
    Arp,
    /// ICMP echo replies.
    Echo,
    /// TCP segments to a port.
    Tcp(u16),
    /// ICMPv6 echo replies and neighbour advertisements.
    V6,
}
