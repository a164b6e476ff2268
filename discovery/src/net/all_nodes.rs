//! Finds who speaks IPv6 on a link: one echo request to the group of all nodes (RFC 4291, 2.7.1), asked from an own address
//! of each prefix, for a host answers from the address that is nearest to that.
//!
//! A prefix of IPv6 has too many addresses to ask each. The question goes to everybody at once, so it is asked a few times
//! alone, and far apart; it never leaves the link, and what comes from elsewhere is no answer.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cards::{Link, own_links};
use super::channel::{Channel, PingSocket};
use super::linux::{PacketSocket, Want, opener};
use super::random_key;
use super::sweep::{readable, source};
use crate::cookie::CookieKey;
use crate::fact::{Claim, Fact};
use crate::mac::Mac;
use crate::probe::{self, ALL_NODES, Answer, Method, Prober};
use crate::range::Range;

/// The nodes of a link that can be asked.
#[derive(Debug)]
pub struct AllNodes {
    channels: Vec<Channel>,
    /// Own prefixes there.
    prefixes: Vec<Range>,
}

impl AllNodes {
    /// Opens what it needs on the interface with the address `own`, packet sockets where this process or the opener may and
    /// a ping socket elsewhere; sends nothing yet. By a ping socket no cards are learned.
    ///
    /// # Errors
    /// When neither can be opened, or there is no IPv6 on that interface.
    pub async fn open(own: Ipv4Addr) -> io::Result<Self> {
        let links = own_links().await.map_err(io::Error::other)?;
        let is_it = |link: &Link| link.addresses.iter().any(|(address, _)| *address == IpAddr::from(own));
        let link = links.into_iter().find(is_it).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (sources, prefixes) = sources(&link);
        if sources.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let key = random_key()?;
        let channels = match packets(&link, &sources, key) {
            Ok(channels) => channels,
            Err(error) => {
                tracing::debug!(%error, "no packet sockets for all nodes");
                pings(&link, &sources, key)?
            }
        };
        Ok(Self { channels, prefixes })
    }

    /// Asks, and tells who answers; ends when nobody new does.
    ///
    /// # Errors
    /// When the interface goes away.
    pub async fn run(mut self, facts: &mpsc::Sender<Fact>) -> io::Result<()> {
        let mut seen = HashSet::new();
        for attempt in 1..=TIMES {
            for channel in &mut self.channels {
                channel.probe(ALL_NODES, attempt)?;
                channel.flush()?;
            }
            let (before, until) = (seen.len(), Instant::now() + APART);
            while let Some(answers) = self.answers(until).await? {
                for answer in answers {
                    if seen.len() < LIMIT && seen.insert(answer.from) && !tell(&answer, facts).await {
                        return Ok(());
                    }
                }
            }
            // The first question may have been lost whole.
            if attempt > 1 && seen.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// What has come in; `None` once the time is over.
    async fn answers(&mut self, until: Instant) -> io::Result<Option<Vec<Answer>>> {
        tokio::select! {
            ready = readable(&mut self.channels) => ready?,
            () = tokio::time::sleep_until(until) => return Ok(None),
        }
        let mut answers = Vec::new();
        for channel in &mut self.channels {
            channel.receive(&mut |answer| answers.push(answer))?;
        }
        answers.retain(|answer| self.prefixes.iter().any(|prefix| prefix.contains(answer.from)));
        Ok(Some(answers))
    }
}

/// One own address of each prefix of IPv6, and the prefixes.
fn sources(link: &Link) -> (Vec<Ipv6Addr>, Vec<Range>) {
    let mut of_prefixes: Vec<(Ipv6Addr, Range)> = Vec::new();
    for (own, bits) in &link.addresses {
        let (IpAddr::V6(own), prefix) = (own, Range::subnet(*own, *bits)) else { continue };
        if of_prefixes.len() < PREFIXES && of_prefixes.iter().all(|(_, known)| *known != prefix) {
            of_prefixes.push((*own, prefix));
        }
    }
    of_prefixes.into_iter().unzip()
}

/// A ping socket for each own address that is asked from.
fn pings(link: &Link, sources: &[Ipv6Addr], key: CookieKey) -> io::Result<Vec<Channel>> {
    let ping = |source: &Ipv6Addr| PingSocket::open_all_nodes(*source, link.index, key).map(Channel::Ping);
    sources.iter().map(ping).collect()
}

/// A packet socket for each own address that is asked from.
fn packets(link: &Link, sources: &[Ipv6Addr], key: CookieKey) -> io::Result<Vec<Channel>> {
    let wanted: Vec<_> = sources.iter().map(|_| (link.index, Want::V6)).collect();
    let channel = |(fd, source): (_, &Ipv6Addr)| {
        let from = probe::Link { mac: link.mac, source: (*source).into(), gateway: Mac::BROADCAST };
        let prober = Prober::new(Method::AllNodes, from, key);
        Ok(Channel::Packet { socket: PacketSocket::new(fd)?, prober })
    };
    opener::sockets(&wanted)?.into_iter().zip(sources).map(channel).collect()
}

/// Tells what an answer says; false when nobody listens any more.
async fn tell(answer: &Answer, facts: &mpsc::Sender<Fact>) -> bool {
    let (address, source, seen) = (answer.from, source(answer.kind), SystemTime::now());
    let alive = Claim::Alive { rtt: None, hops: answer.hops };
    for claim in [Some(alive), answer.mac.map(Claim::Mac)].into_iter().flatten() {
        if facts.send(Fact { address, claim, source, seen }).await.is_err() {
            return false;
        }
    }
    true
}

/// How often everybody is asked at most.
const TIMES: u16 = 3;
/// Between two times: longer than the answers of a thousand hosts take, and than any takes on a link.
const APART: Duration = Duration::from_millis(400);
/// Own prefixes that are asked from.
const PREFIXES: usize = 4;
/// Answers that are taken; a flood of invented hosts ends here.
const LIMIT: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prefix_is_asked_from_once() {
        let addresses = ["10.1.0.1", "fd00::1", "fd00::2", "fe80::1"].map(|own| (own.parse().unwrap(), 64));
        let addresses = addresses.to_vec();
        let link = Link { index: 2, name: "eth0".into(), mac: Mac([2, 0, 0, 0, 0, 1]), addresses };
        let (sources, prefixes) = sources(&link);
        assert_eq!(sources.iter().map(ToString::to_string).collect::<Vec<_>>(), ["fd00::1", "fe80::1"]);
        assert!(prefixes[1].contains("fe80::9".parse().unwrap()));
        assert!(!prefixes.iter().any(|prefix| prefix.contains("fd01::9".parse().unwrap())));
    }
}
