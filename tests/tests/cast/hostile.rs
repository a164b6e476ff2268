//! A host of the LAN that sends what nobody should.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use klnet_multicast::announcement::{Announcement, Phase};
use klnet_multicast::catalogue::Catalogue;
use klnet_multicast::id::{ReceiverId, SessionId};
use klnet_multicast::key::{EpochKey, Secret};
use klnet_multicast::manifest::Manifest;
use klnet_multicast::packet::{Header, Letter, SYMBOL_OVERHEAD};
use klnet_tests::lab::Host;
use klnet_tests::sim::Rng;
use klnet_wire::signing::SigningKey;

use super::{GROUP, Lan, PATIENCE};

/// Who listens to the group and sends to it.
pub(crate) struct Hostile {
    socket: UdpSocket,
    group: SocketAddr,
    /// The secret that all members have.
    epoch: EpochKey,
    rng: Rng,
}

/// What it sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// The headers of the session, and noise behind them.
    BadTag,
    /// What the sender sent, bit by bit.
    Replayed,
    /// An announcement of a member that is no announcer.
    Forged,
    /// Anything from nothing to the longest datagram.
    Absurd,
    /// Feedback and receipts that no receiver and no sender made.
    Letters,
    /// Symbols of a member, with other bytes.
    Poison,
}

/// Those that cost whoever gets them nothing but their check.
pub(crate) const HARMLESS: [Kind; 5] =
    [Kind::BadTag, Kind::Replayed, Kind::Forged, Kind::Absurd, Kind::Letters];

impl Hostile {
    /// Joins the group from a host; it has the file that every receiver has.
    pub(crate) fn on(host: &Host, lan: &Lan) -> Result<Self> {
        let file = fs::read_to_string(lan.path("lan.receiver"))?;
        let secret = file.lines().find_map(|line| line.strip_prefix("secret ")).context("no secret")?;
        let secret = HEXLOWER.decode(secret.as_bytes())?;
        let secret = Secret::new(secret.try_into().ok().context("32 bytes")?);
        let group: SocketAddr = GROUP.parse()?;
        let address = host.address();
        let socket = host.inside(|| listen(group, address))??;
        Ok(Self { socket, group, epoch: EpochKey { epoch: 1, secret }, rng: Rng::new(5) })
    }

    /// Waits for a symbol of the session that is on the air, and learns its id from an announcement.
    pub(crate) fn overhear(&self) -> Result<Overheard> {
        let (mut announcement, mut symbol) = (None, None);
        let mut buffer = [0; 2048];
        loop {
            let (length, sender) = self.socket.recv_from(&mut buffer).context("nobody sends")?;
            let datagram = &buffer[..length];
            match Header::decode(datagram) {
                Ok((Header::Announcement { session, .. }, _)) => {
                    announcement = Some((session, datagram.to_vec()))
                }
                Ok((Header::Symbol { .. }, _)) => symbol = Some(datagram.to_vec()),
                _ => {}
            }
            if let (Some((session, announcement)), Some(symbol)) = (&announcement, &symbol) {
                let replies = vec![announcement.clone(), symbol.clone()];
                return Ok(Overheard { session: *session, sender, packets: replies });
            }
        }
    }

    /// Sends `count` packets of a kind; says how many the system took.
    pub(crate) fn send(&mut self, kind: Kind, count: u32, of: &Overheard) -> Result<u32> {
        let mut sent = 0;
        for n in 0..count {
            let (packet, to) = self.packet(kind, n, of);
            match self.socket.send_to(&packet, to) {
                Ok(_) => sent += 1,
                // A full queue, or a sender that has ended and says so.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ECONNREFUSED)) => {}
                Err(error) => return Err(error).context(format!("{kind:?}")),
            }
        }
        Ok(sent)
    }

    fn packet(&mut self, kind: Kind, n: u32, of: &Overheard) -> (Vec<u8>, SocketAddr) {
        let session = of.session.short();
        let number = 1_000_000 + u64::from(n);
        let packet = match kind {
            Kind::BadTag => {
                let mut packet = of.packets[1].clone();
                self.rng.fill(&mut packet[15..]);
                packet
            }
            Kind::Replayed => of.packets[n as usize % of.packets.len()].clone(),
            Kind::Forged => self.forged(n, of),
            Kind::Absurd => {
                let mut packet = vec![0; self.rng.within(0..1472)];
                self.rng.fill(&mut packet);
                packet
            }
            Kind::Letters => {
                let letter = Letter { session, receiver: ReceiverId::new([1; 16]), nonce: [2; 12] };
                let header =
                    if n.is_multiple_of(2) { Header::Feedback(letter) } else { Header::Receipt(letter) };
                let packet = self.sealed(header, &[0; 60], of.session);
                return (packet, if n.is_multiple_of(2) { of.sender } else { self.group });
            }
            Kind::Poison => {
                let (block, esi) = (3 + n % 2, u16::try_from(n / 2 % 900).unwrap_or_default());
                let mut symbol = vec![0; of.packets[1].len() - SYMBOL_OVERHEAD];
                self.rng.fill(&mut symbol);
                self.sealed(Header::Symbol { lane: 3, session, number, block, esi }, &symbol, of.session)
            }
        };
        (packet, self.group)
    }

    /// An announcement that a member makes up: the end of the session, or another object.
    fn forged(&self, n: u32, of: &Overheard) -> Vec<u8> {
        let key = SigningKey::generate_ed25519();
        let manifest = Manifest {
            name: "evil".to_owned(),
            version: u64::MAX,
            issued: 0,
            expires: 0,
            audience: [0; 16],
            length: 0,
            catalogue_length: 4,
            catalogue: Catalogue::hash(&[0; 4]),
            block_log2: 22,
        };
        let announcement = Announcement {
            sequence: 1000 + n,
            phase: if n.is_multiple_of(2) { Phase::Ended } else { Phase::Open },
            symbol: 1408,
            stamp: 0,
            manifest: manifest.sign(&key).expect("a sound manifest"),
            demoted: Vec::new(),
            inline: vec![0; 4].into(),
        };
        let session = if n % 4 < 2 { of.session } else { SessionId([9; 16]) };
        let number = 1_000_000 + u64::from(n);
        let header = Header::Announcement { lane: 3, epoch: 1, session, number };
        self.sealed(header, &announcement.encode(session, &key), session)
    }

    fn sealed(&self, header: Header, body: &[u8], session: SessionId) -> Vec<u8> {
        let (key, mut packet) = (self.epoch.packets(session, 3), Vec::new());
        header.seal(&key, body, &mut packet);
        packet
    }
}

/// What is known of the session on the air.
pub(crate) struct Overheard {
    session: SessionId,
    sender: SocketAddr,
    packets: Vec<Vec<u8>>,
}

fn listen(group: SocketAddr, address: Ipv4Addr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(group)?;
    let SocketAddr::V4(group) = group else { anyhow::bail!("an IPv4 group") };
    socket.join_multicast_v4(group.ip(), &address)?;
    socket2::SockRef::from(&socket).set_multicast_if_v4(&address)?;
    socket.set_read_timeout(Some(PATIENCE.min(Duration::from_secs(30))))?;
    Ok(socket)
}
