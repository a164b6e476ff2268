//! Probes of one kind, from one interface: writes them, and knows their answers.

use std::net::IpAddr;

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
            (Method::Echo, _) => {
                let attempt = echo::reply(&self.key, self.identifier, &datagram)?;
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
    fn a_probe_is_no_answer() {
        for method in [Method::Neighbor, Method::Echo, Method::Syn(80)] {
            let prober = Prober::new(method, LINK, CookieKey::new([1; 16]));
            let probe = prober.probe([10, 2, 0, 9].into(), 1).unwrap();
            assert_eq!(prober.answer(probe.as_bytes()), Err(Ignored::Foreign), "{method:?}");
        }
    }

    const LINK: Link = Link {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        source: IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1)),
        gateway: Mac([2, 0, 0, 0, 0, 2]),
    };
}
