//! A poll of a plan: sockets first, then sweeps one after another with one pacer, then names.

mod canary;
mod netbios;
mod note;
mod options;
mod poller;
mod progress;

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

pub use note::Note;
pub use options::{Find, Names, Options};
use poller::Poller;
pub use progress::{Progress, Stage};

use super::channel::{Channel, Knocking, PingSocket, StatusSockets};
use super::error::PollError;
use super::linux::{Neighbours, PacketSocket, Want, opener};
use super::route::Interface;
use super::segment::{Segment, Split, split};
use super::{names, random_key, route};
use crate::cookie::CookieKey;
use crate::fact::{Claim, Fact, Source};
use crate::guard;
use crate::mac::Mac;
use crate::pacer::Pacer;
use crate::probe::{Link, Method, Prober};
use crate::range::Range;

/// A poll that has everything it needs.
#[derive(Debug)]
pub struct Poll {
    options: Options,
    key: CookieKey,
    parts: Vec<Part>,
    own: Vec<(IpAddr, Interface)>,
    notes: Vec<Note>,
}

/// A segment and the channels to it.
#[derive(Debug)]
struct Part {
    segment: Segment,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Packet sockets: one that finds neighbours, and one for each method behind a router.
    Raw {
        mac: Mac,
        neighbor: PacketSocket,
        beyond: Vec<(Method, PacketSocket)>,
        canary: Option<(Method, PacketSocket)>,
    },
    /// What every user has.
    Plain(Channel),
    /// Nobody is looked for: they are asked for their names at once.
    Unknown,
}

impl Poll {
    /// Looks at routes and opens sockets; sends nothing yet.
    ///
    /// # Errors
    /// When nothing leads to any address, or no socket at all can be opened.
    pub async fn open(options: Options) -> Result<Self, PollError> {
        let routes = route::read().await.map_err(PollError::Routes)?;
        let Split { segments, own, unreachable } = split(&options.plan, &routes);
        if segments.is_empty() && own.is_empty() {
            let first = unreachable.first().copied();
            return Err(PollError::NoRoute(first.unwrap_or(Range::subnet(options.plan.address(0), 128))));
        }
        let key = random_key()?;
        let notes = unreachable.into_iter().map(Note::NoRoute).collect();
        let mut poll = Self { options, key, parts: Vec::new(), own, notes };
        poll.open_channels(segments)?;
        Ok(poll)
    }

    fn open_channels(&mut self, segments: Vec<Segment>) -> Result<(), PollError> {
        let wanted: Vec<_> = segments.iter().flat_map(|segment| self.wants(segment)).collect();
        let sockets = match self.options.raw {
            true if !wanted.is_empty() => match opener::sockets(&wanted) {
                Ok(sockets) => sockets,
                Err(error) => {
                    self.notes.push(Note::NoRaw(error.to_string()));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        };
        let mut sockets = sockets.into_iter();
        for segment in segments {
            let way = match (segment.interface.mac, sockets.len() > 0) {
                (Some(mac), true) if !self.wants(&segment).is_empty() => {
                    self.raw(&segment, mac, &mut sockets)?
                }
                _ if self.options.find == Find::NetBios => Way::Unknown,
                _ => self.plain(&segment)?,
            };
            self.parts.push(Part { segment, way });
        }
        Ok(())
    }

    /// The sockets that a segment needs, in the order [`Poll::raw`] takes them.
    fn wants(&self, segment: &Segment) -> Vec<(u32, Want)> {
        let interface = segment.interface.index;
        let v4 = segment.source.is_ipv4();
        // Who is behind a router is asked for NetBIOS names at once, and by IPv6 there are none.
        let is_unknown = self.options.find == Find::NetBios && (segment.gateway.is_some() || !v4);
        if segment.interface.mac.is_none() || is_unknown {
            return Vec::new();
        }
        let (neighbor, echo) = if v4 { (Want::Arp, Want::Echo) } else { (Want::V6, Want::V6) };
        let mut wanted = vec![(interface, neighbor)];
        if segment.gateway.is_some() {
            let port = self.prober(segment, Method::Echo, Mac::BROADCAST, Mac::BROADCAST).port();
            let ports = self.ports(segment).into_iter().chain(self.canary(segment));
            let syns = ports.map(|_| (interface, Want::Tcp(port)));
            wanted.extend([(interface, echo)].into_iter().chain(syns));
        }
        wanted
    }

    /// The ports that a segment is asked at.
    fn ports(&self, segment: &Segment) -> Vec<u16> {
        if segment.source.is_ipv4() { self.options.tcp.clone() } else { Vec::new() }
    }

    /// Where those are asked that accept at one of the ports.
    fn canary(&self, segment: &Segment) -> Option<u16> {
        let ports = self.ports(segment);
        (!ports.is_empty()).then(|| guard::canary(self.key.number("canary"), &ports))
    }

    fn raw(
        &self,
        segment: &Segment,
        mac: Mac,
        sockets: &mut impl Iterator<Item = std::os::fd::OwnedFd>,
    ) -> Result<Way, PollError> {
        let mut next = || {
            let fd = sockets.next().ok_or(std::io::ErrorKind::UnexpectedEof)?;
            PacketSocket::new(fd)
        };
        let neighbor = next()?;
        let (mut beyond, mut canary) = (Vec::new(), None);
        if segment.gateway.is_some() {
            let syns = self.ports(segment).into_iter().map(Method::Syn);
            for method in [Method::Echo].into_iter().chain(syns) {
                beyond.push((method, next()?));
            }
            if let Some(port) = self.canary(segment) {
                canary = Some((Method::Syn(port), next()?));
            }
        }
        Ok(Way::Raw { mac, neighbor, beyond, canary })
    }

    fn plain(&mut self, segment: &Segment) -> Result<Way, PollError> {
        let channel = match PingSocket::open(segment.source, self.key) {
            Ok(socket) => Channel::Ping(socket),
            Err(error) => {
                let note = Note::NoPing(error.to_string());
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                Channel::Knock(Knocking::new(&self.options.tcp))
            }
        };
        if segment.resolution().is_none() {
            return Ok(Way::Plain(channel));
        }
        let neighbours = Neighbours::open(segment.interface.index, segment.source.is_ipv4())?;
        Ok(Way::Plain(Channel::Kernel { asking: Box::new(channel), neighbours }))
    }

    /// What a person should know before it runs.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Sweeps, asks for names, and tells every fact; ends early when nobody listens to them.
    ///
    /// # Errors
    /// When an interface goes away, or the name server cannot be asked.
    pub async fn run(
        self,
        facts: mpsc::Sender<Fact>,
        progress: watch::Sender<Progress>,
    ) -> Result<Vec<Note>, PollError> {
        let Self { options, key, parts, own, mut notes } = self;
        let mut poller =
            Poller { options: &options, key, facts: Some(&facts), progress: &progress, before: 0 };
        if options.find == Find::NetBios {
            let own = own.iter().map(|(own, _)| *own);
            poller.netbios(parts, own, StatusSockets::open(key).await?).await?;
            progress.send_modify(|progress| progress.stage = Stage::Over);
            return Ok(notes);
        }
        let mut found: Vec<IpAddr> = own.iter().map(|(own, _)| *own).collect();
        for (own, interface) in &own {
            tell_own(&facts, *own, interface).await;
        }
        let mut pacer = Pacer::new(Instant::now(), options.profile.pace());
        for part in parts {
            let mut answers = Vec::new();
            poller.before = found.len();
            pacer = poller.part(part, pacer, &mut answers, &mut notes).await?;
            found.extend(answers.iter().map(|answer| answer.from));
        }
        if let Err(note) = ask_names(&options, key, &found, &facts, &progress).await {
            notes.push(note);
        }
        progress.send_modify(|progress| progress.stage = Stage::Over);
        Ok(notes)
    }

    fn prober(&self, segment: &Segment, method: Method, mac: Mac, gateway: Mac) -> Prober {
        Prober::new(method, Link { mac, source: segment.source, gateway }, self.key)
    }
}

/// Asks for the names that are wanted.
async fn ask_names(
    options: &Options,
    key: CookieKey,
    found: &[IpAddr],
    facts: &mpsc::Sender<Fact>,
    progress: &watch::Sender<Progress>,
) -> Result<(), Note> {
    let (plan, len) = (&options.plan, u64::try_from(found.len()).unwrap_or(u64::MAX));
    let (addresses, of): (Box<dyn Iterator<Item = IpAddr> + Send>, u64) = match options.names {
        Names::None => return Ok(()),
        Names::Alive => (Box::new(found.iter().copied()), len),
        Names::All => (Box::new((0..plan.len()).map(|index| plan.address(index))), plan.len().into()),
    };
    let server = options.server.or_else(names::system_server).ok_or(Note::NoNameServer)?;
    let mut done = 0;
    let counted = addresses.inspect(|_| {
        done += 1;
        let done = done;
        progress.send_modify(|progress| *progress = Progress { stage: Stage::Names, done, of, ..*progress });
    });
    let asked = names::reverse(counted, server, key, facts).await;
    asked.map_err(|error| Note::NameServer(server, error.to_string()))
}

/// This machine is a host of the network too.
async fn tell_own(facts: &mpsc::Sender<Fact>, address: IpAddr, interface: &Interface) {
    let alive = Claim::Alive { rtt: Some(Duration::ZERO), hops: None };
    let source = if address.is_ipv4() { Source::Arp } else { Source::Neighbor };
    for claim in [Some(alive), interface.mac.map(Claim::Mac)].into_iter().flatten() {
        let _ = facts.send(Fact { address, claim, source, seen: SystemTime::now() }).await;
    }
}
