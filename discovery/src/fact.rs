//! What polling gives: one thing that was said about one address, by whom, and when.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::mac::Mac;
use crate::name::Text;

/// One thing that was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Where it was heard from.
    pub address: IpAddr,
    /// What was said.
    pub claim: Claim,
    /// How it was learned.
    pub source: Source,
    /// When.
    pub seen: SystemTime,
}

/// What is said about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It answered.
    Alive {
        /// After this time, where it was measured.
        rtt: Option<Duration>,
        /// With so many hops left.
        hops: Option<u8>,
    },
    /// Its card has this address.
    Mac(Mac),
    /// It is called so.
    Name(NameKind, Text),
    /// The identifier of the machine, as its own system says.
    Machine([u8; 16]),
    /// The identifier of its account in a directory.
    Directory([u8; 16]),
    /// Its operating system.
    System(Text),
    /// It offers a service.
    Service(Service),
    /// The answer says nothing about a host of its own: something else answers for everybody.
    Suspect(Suspicion),
}

/// Where a name belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A name of the domain name system.
    Dns,
    /// A name of the local link (RFC 6762).
    Local,
    /// A NetBIOS name.
    NetBios,
    /// The domain or workgroup it belongs to.
    Domain,
}

/// A service that was announced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// What it is, such as `_http._tcp`.
    pub kind: Text,
    /// What it calls itself.
    pub instance: Text,
    /// The port it is offered on.
    pub port: u16,
}

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspicion {
    /// One card answers ARP for a whole subnet.
    ProxyArp,
    /// Every address of a subnet accepts connections.
    SynProxy,
}

/// How something was learned; from what everyone can claim to what was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An ARP reply.
    Arp,
    /// A neighbour advertisement.
    Neighbor,
    /// An ICMPv6 echo reply to the group of all nodes of the link.
    AllNodes,
    /// An ICMP echo reply.
    Echo,
    /// An answer to a SYN or connection.
    Tcp,
    /// An ICMP error about a datagram.
    Udp,
    /// A PTR record.
    ReverseDns,
    /// Multicast DNS.
    Mdns,
    /// A NetBIOS node status.
    Nbns,
    /// Link-local multicast name resolution.
    Llmnr,
    /// Web Services Dynamic Discovery.
    Wsd,
    /// An SMB2 negotiation.
    Smb,
    /// A directory, over TLS.
    Directory,
    /// A signed beacon of another agent.
    Agent,
}

/// How much a fact is worth where facts disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Whoever is on the link can say so.
    Low,
    /// It takes a place on the path, or the network's own records, to say so.
    Medium,
    /// It was authenticated.
    High,
}

impl Source {
    /// What anything learned this way is worth.
    pub const fn confidence(self) -> Confidence {
        match self {
            // What is asked of everybody is heard by everybody.
            Self::Arp
            | Self::Neighbor
            | Self::AllNodes
            | Self::Mdns
            | Self::Nbns
            | Self::Llmnr
            | Self::Wsd => Confidence::Low,
            // The answer carried a cookie or belongs to a connection; the name comes from the network's own servers.
            Self::Echo | Self::Tcp | Self::Udp | Self::ReverseDns | Self::Smb => Confidence::Medium,
            Self::Directory | Self::Agent => Confidence::High,
        }
    }

    /// A short word for tables and files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Neighbor => "ndp",
            Self::AllNodes => "all-nodes",
            Self::Echo => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::ReverseDns => "dns",
            Self::Mdns => "mdns",
            Self::Nbns => "nbns",
            Self::Llmnr => "llmnr",
            Self::Wsd => "wsd",
            Self::Smb => "smb",
            Self::Directory => "directory",
            Self::Agent => "agent",
        }
    }
}

impl Suspicion {
    /// A short word for tables and files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ProxyArp => "proxy-arp",
            Self::SynProxy => "syn-proxy",
        }
    }
}
