//! Drives what Windows machines answer to everybody: SMB of hosts that are there, WS-Discovery of the link.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::random_key;
use crate::fact::{Claim, Fact, Source};
use crate::pacer::Pacer;
use crate::profile::Profile;
use crate::windows::{smb, wsd};

/// Asks each host for the names that its SMB server has, some at a time and no faster than the profile says.
pub async fn smb_names(
    hosts: impl IntoIterator<Item = IpAddr>,
    profile: Profile,
    facts: &mpsc::Sender<Fact>,
) {
    let mut asking = JoinSet::new();
    let mut pacer = Pacer::new(Instant::now(), profile.pace()).counting_each_as(PACKETS);
    for host in hosts {
        while asking.len() >= CROWD {
            tell(asking.join_next().await, facts).await;
        }
        while pacer.allowance(Instant::now()) == 0 {
            tokio::time::sleep_until(pacer.wake().into()).await;
        }
        pacer.spend(Instant::now(), 1);
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

/// Asks everybody on the link of the interface with the address `own` who they are; what comes from an address that is not
/// `wanted` is nobody's.
///
/// # Errors
/// When the group cannot be asked there.
pub async fn discover(
    own: Ipv4Addr,
    wanted: impl Fn(IpAddr) -> bool,
    facts: &mpsc::Sender<Fact>,
) -> io::Result<()> {
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
    let probe = wsd::probe(id);
    // Datagrams get lost: it is asked twice, and the answers to the first come meanwhile.
    socket.send_to(probe.as_bytes(), SocketAddr::V4(GROUP)).await?;
    tokio::time::sleep(REPEAT).await;
    socket.send_to(probe.as_bytes(), SocketAddr::V4(GROUP)).await?;
    let mut bytes = vec![0; DATAGRAM];
    let listening = async {
        loop {
            let Ok((len, from)) = socket.recv_from(&mut bytes).await else { continue };
            if !wanted(from.ip()) {
                continue;
            }
            for claim in wsd::matched(id, &bytes[..len]).into_iter().flatten() {
                let fact = Fact { address: from.ip(), claim, source: Source::Wsd, seen: SystemTime::now() };
                if facts.send(fact).await.is_err() {
                    return;
                }
            }
        }
    };
    // That the time is over is how it ends.
    let _ = tokio::time::timeout(MATCHES, listening).await;
    Ok(())
}

const SMB: u16 = 445;
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3702);
/// Connections at once.
const CROWD: usize = 128;
/// A connection with its two questions and answers, of both sides.
const PACKETS: u32 = 9;
/// Between the two times that everybody is asked (SOAP-over-UDP 1.1, appendix A: 50 to 250 ms).
const REPEAT: Duration = Duration::from_millis(100);
/// How long answers are waited for after that (WS-Discovery 1.1, 3.1.3: MATCH_TIMEOUT).
const MATCHES: Duration = Duration::from_millis(600);
/// For connecting and both answers.
const PATIENCE: Duration = Duration::from_secs(3);
const DATAGRAM: usize = 65_507;
