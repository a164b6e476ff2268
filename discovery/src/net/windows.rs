//! Drives what Windows machines answer to everybody: SMB of hosts that are there, WS-Discovery of the link.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::channel::{Channel, StatusSocket};
use super::poll::Progress;
use super::random_key;
use super::sweep::Driver;
use crate::fact::{Claim, Fact, Source};
use crate::guard::Guard;
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::sweep::{Config, Sweep};
use crate::windows::{smb, wsd};

/// Asks every address of a plan for its NetBIOS names.
///
/// # Errors
/// When no socket can be opened, or the network goes away.
pub async fn node_status(
    plan: Plan,
    profile: Profile,
    facts: &mpsc::Sender<Fact>,
    progress: &watch::Sender<Progress>,
) -> io::Result<()> {
    let (key, now) = (random_key()?, Instant::now());
    let config = Config { recall: RECALL, patience: profile.patience(), key: key.number("walk") };
    let core = Sweep::new(now, Arc::new(plan), config, Pacer::new(now, profile.pace()));
    let mut channel = Channel::Status(StatusSocket::open(key).await?);
    let mut driver = Driver { core, channel: &mut channel, facts, guard: Guard::default(), stuck: None };
    driver
        .run(&mut Vec::new(), |at| {
            progress.send_replace(at.into());
        })
        .await
}

/// Asks each host for the names that its SMB server has, some at a time.
pub async fn smb_names(hosts: impl IntoIterator<Item = IpAddr>, facts: &mpsc::Sender<Fact>) {
    let mut asking = JoinSet::new();
    for host in hosts {
        while asking.len() >= CROWD {
            tell(asking.join_next().await, facts).await;
        }
        asking.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, one(host)).await;
            (host, answer.ok().flatten().unwrap_or_default())
        });
    }
    while !asking.is_empty() {
        tell(asking.join_next().await, facts).await;
    }
}

async fn tell(
    answer: Option<Result<(IpAddr, Vec<Claim>), tokio::task::JoinError>>,
    facts: &mpsc::Sender<Fact>,
) {
    let Some(Ok((address, claims))) = answer else { return };
    for claim in claims {
        let _ = facts.send(Fact { address, claim, source: Source::Smb, seen: SystemTime::now() }).await;
    }
}

/// What one server says up to its challenge; what it says after that is for who has a password.
async fn one(host: IpAddr) -> Option<Vec<Claim>> {
    let mut stream = TcpStream::connect(SocketAddr::new(host, SMB)).await.ok()?;
    let negotiated = smb::negotiated(&exchange(&mut stream, &smb::negotiate()).await?)?;
    let challenged = smb::challenged(&exchange(&mut stream, &smb::session_setup()).await?);
    Some(negotiated.into_iter().chain(challenged.into_iter().flatten()).collect())
}

async fn exchange(stream: &mut TcpStream, message: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(message).await.ok()?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.ok()?;
    let mut bytes = vec![0; smb::length(prefix)?];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

/// Asks everybody on the link of the interface with the address `own` who they are, and listens for `patience`.
///
/// # Errors
/// When the group cannot be asked there.
pub async fn discover(own: Ipv4Addr, patience: Duration, facts: &mpsc::Sender<Fact>) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_ttl_v4(1)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let key = random_key()?;
    let [high, low] = ["wsd", "probe"].map(|purpose| key.number(purpose).to_be_bytes());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&high);
    id[8..].copy_from_slice(&low);
    // Datagrams get lost: it is asked twice (WS-Discovery, appendix I).
    for _ in 0..2 {
        socket.send_to(wsd::probe(id).as_bytes(), SocketAddr::V4(GROUP)).await?;
    }
    let mut bytes = vec![0; DATAGRAM];
    let listening = async {
        loop {
            let Ok((len, from)) = socket.recv_from(&mut bytes).await else { continue };
            for claim in wsd::matched(id, &bytes[..len]).into_iter().flatten() {
                let fact = Fact { address: from.ip(), claim, source: Source::Wsd, seen: SystemTime::now() };
                if facts.send(fact).await.is_err() {
                    return;
                }
            }
        }
    };
    // That the time is over is how it ends.
    let _ = tokio::time::timeout(patience, listening).await;
    Ok(())
}

/// As of any poll; NetBIOS itself asks three times.
const RECALL: f64 = 0.9999;
const SMB: u16 = 445;
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3702);
/// Connections at once.
const CROWD: usize = 128;
/// For connecting and both answers.
const PATIENCE: Duration = Duration::from_secs(3);
const DATAGRAM: usize = 65_507;
