//! Probes of one kind, from one interface: writes them, and knows their answers.

use std::net::{IpAddr, Ipv6Addr};

use pnet_packet::ethernet::EtherTypes;

use crate::cookie::CookieKey;
use crate::mac::Mac;
use crate::packet::{self, Frame, Ignored, arp, echo, ip, solicit, syn};

/// What was heard from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub from: IpAddr,
    /// Which attempt it answers, where the answer tells.
    pub attempt: Option<u16>,
    /// To what.
    pub kind: Kind,
    /// The host's card, when it is on the same link.
    pub mac: Option<Mac>,
    /// The hops that were left (TTL).
    pub hops: Option<u8>,
}

/// What a host answered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An ARP request.
    Arp,
    /// A neighbour solicitation.
    Neighbor,
    /// An ICMPv6 echo request to all nodes of the link.
    AllNodes,
    /// An ICMP echo request.
    Echo,
    /// A SYN or a connection; the port is open.
    Open(u16),
    /// A SYN or a connection; the port is closed.
    Closed(u16),
    /// A datagram to a port that nobody listens on.
    Unreachable,
    /// A NetBIOS node status.
    Status,
}

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// ARP or neighbour discovery: hosts on the link.
    Neighbor,
    /// ICMPv6 echo of all nodes of the link at once; the target is [`ALL_NODES`].
    AllNodes,
    /// ICMP echo.
    Echo,
    /// A SYN to a port; IPv4 only.
    Syn(u16),
}

/// Where probes leave the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The card's own address.
    pub mac: Mac,
    /// The address that is asked from.
    pub source: IpAddr,
    /// Who forwards to targets that are not on the link.
    pub gateway: Mac,
}

/// Probes of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Prober {
    method: Method,
    link: Link,
    key: CookieKey,
    identifier: u16,
    port: u16,
}

impl Prober {
    /// Probes that belong to one poll: whoever has another key does not know their answers.
    pub fn new(method: Method, link: Link, key: CookieKey) -> Self {
        let [a, b, c, d, ..] = key.number("probe").to_be_bytes();
        let port = PORTS | (u16::from_be_bytes([c, d]) & !PORTS);
        Self { method, link, key, identifier: u16::from_be_bytes([a, b]), port }
    }

    /// The port that SYNs are sent from.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The frame of one probe; `None` when this method cannot reach an address of that family.
    pub fn probe(&self, target: IpAddr, attempt: u16) -> Option<Frame> {
        let Link { mac, source, gateway } = self.link;
        match (self.method, source, target) {
            (Method::Neighbor, IpAddr::V4(source), IpAddr::V4(target)) => {
                Some(arp::request(mac, source, target))
            }
            (Method::Neighbor, IpAddr::V6(source), IpAddr::V6(target)) => {
                Some(solicit::request(mac, source, target))
            }
            (Method::AllNodes, IpAddr::V6(_), ALL_NODES) => {
                let cookie = self.key.cookie(target, attempt);
                echo::request((mac, GROUP), (source, target), self.identifier, attempt, cookie)
            }
            (Method::Echo, ..) => {
                let cookie = self.key.cookie(target, attempt);
                echo::request((mac, gateway), (source, target), self.identifier, attempt, cookie)
            }
            (Method::Syn(port), IpAddr::V4(source), IpAddr::V4(target)) => {
                Some(syn::request((mac, gateway), (source, target), (self.port, port), &self.key))
            }
            _ => None,
        }
    }

    /// Reads a received frame.
    ///
    /// # Errors
    /// When it is no answer to a probe of these.
    pub fn answer(&self, frame: &[u8]) -> Result<Answer, Ignored> {
        let (sender, ether, bytes) = packet::open(frame)?;
        if let (Method::Neighbor, EtherTypes::Arp, IpAddr::V4(source)) =
            (self.method, ether, self.link.source)
        {
            let (from, mac) = arp::reply(self.link.mac, source, bytes)?;
            return Ok(Answer { from, attempt: None, kind: Kind::Arp, mac: Some(mac), hops: None });
        }
        let datagram = ip::open(ether, bytes)?;
        if datagram.target != self.link.source {
            return Err(Ignored::Foreign);
        }
        let answer = |kind, attempt| Answer {
            from: datagram.source,
            attempt,
            kind,
            mac: None,
            hops: Some(datagram.hops),
        };
        match (self.method, self.link.source) {
            (Method::Neighbor, IpAddr::V6(own)) => {
                let (from, mac) = solicit::reply(own, sender, &datagram)?;
                Ok(Answer { from, attempt: None, kind: Kind::Neighbor, mac: Some(mac), hops: None })
            }
            (Method::AllNodes, _) => {
                let attempt = echo::reply(&self.key, self.identifier, ALL_NODES, &datagram)?;
                let mac = sender.is_of_a_host().then_some(sender);
                Ok(Answer { mac, ..answer(Kind::AllNodes, Some(attempt)) })
            }
            (Method::Echo, _) => {
                let attempt = echo::reply(&self.key, self.identifier, datagram.source, &datagram)?;
                Ok(answer(Kind::Echo, Some(attempt)))
            }
            (Method::Syn(port), _) => {
                let open = syn::reply(&self.key, (self.port, port), &datagram)?;
                Ok(answer(if open { Kind::Open(port) } else { Kind::Closed(port) }, None))
            }
            (Method::Neighbor, IpAddr::V4(_)) => Err(Ignored::Foreign),
        }
    }
}

/// Every node of the link (RFC 4291, 2.7.1).
pub const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
/// Where a frame to them goes (RFC 2464, 7).
const GROUP: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
/// Source ports of SYNs: the upper half, where no service listens.
const PORTS: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reaches_what_its_packets_can_say() {
        let (v4, v6) = ([10, 2, 0, 9].into(), "fd00::9".parse().unwrap());
        let reaches = |method, source: &str| {
            let link = Link { source: source.parse().unwrap(), ..LINK };
            let prober = Prober::new(method, link, CookieKey::new([1; 16]));
            [v4, v6].map(|target| prober.probe(target, 1).is_some())
        };
        for method in [Method::Neighbor, Method::Echo] {
            assert_eq!(reaches(method, "10.1.0.1"), [true, false]);
            assert_eq!(reaches(method, "fd00::1"), [false, true]);
        }
        assert_eq!(reaches(Method::Syn(443), "10.1.0.1"), [true, false]);
        assert_eq!(reaches(Method::Syn(443), "fd00::1"), [false, false]);
    }

    #[test]
    fn every_node_of_the_link_answers_for_itself_what_all_were_asked() {
        let link = Link { source: "fd00::1".parse().unwrap(), ..LINK };
        let prober = Prober::new(Method::AllNodes, link, CookieKey::new([1; 16]));
        let asked = prober.probe(ALL_NODES, 2).unwrap();
        assert_eq!(asked.as_bytes()[..6], GROUP.0);
        assert!(prober.probe("fd00::9".parse().unwrap(), 2).is_none());
        for last in [9, 10] {
            let answer = prober.answer(&echoed(&asked, last)).unwrap();
            let from: IpAddr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into();
            let mac = Some(Mac([2, 0, 0, 0, 0, u8::try_from(last).unwrap()]));
            assert_eq!(answer, Answer { from, attempt: Some(2), kind: Kind::AllNodes, mac, hops: Some(64) });
        }
        let other = Prober::new(Method::AllNodes, link, CookieKey::new([2; 16]));
        let forged = echoed(&other.probe(ALL_NODES, 2).unwrap(), 9);
        assert!(prober.answer(&forged).is_err(), "it carries another poll's cookie");
        // A cookie of the group answers no probe of a single host.
        let echo = Prober::new(Method::Echo, link, CookieKey::new([1; 16]));
        assert_eq!(echo.answer(&echoed(&asked, 9)), Err(Ignored::Forged));
    }

    #[test]
    fn a_probe_is_no_answer() {
        for method in [Method::Neighbor, Method::Echo, Method::Syn(80)] {
            let prober = Prober::new(method, LINK, CookieKey::new([1; 16]));
            let probe = prober.probe([10, 2, 0, 9].into(), 1).unwrap();
            assert_eq!(prober.answer(probe.as_bytes()), Err(Ignored::Foreign), "{method:?}");
        }
    }

    /// What the host with this last number makes of a request by IPv6.
    fn echoed(asked: &Frame, last: u16) -> Vec<u8> {
        let (_, kind, bytes) = packet::open(asked.as_bytes()).unwrap();
        let datagram = ip::open(kind, bytes).unwrap();
        let (IpAddr::V6(target), from) = (datagram.source, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last))
        else {
            panic!("asked by IPv6")
        };
        let mut message = datagram.payload.to_vec();
        message[0] = 129;
        let protocol = pnet_packet::ip::IpNextHeaderProtocols::Icmpv6;
        let sum = pnet_packet::util::ipv6_checksum(&message, 1, &[], &from, &target, protocol);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let macs = (Mac([2, 0, 0, 0, 0, u8::try_from(last).unwrap()]), LINK.mac);
        let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&message);
        ip::frame_v6(macs, (from, target), (protocol, 64), message.len(), fill).as_bytes().to_vec()
    }

    const LINK: Link = Link {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        source: IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1)),
        gateway: Mac([2, 0, 0, 0, 0, 2]),
    };
}
