//! Drives a resolver: some ports towards one name server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cookie::CookieKey;
use crate::dns::resolver::{Config, Input, Output, Resolver};
use crate::dns::{self, Reply};
use crate::fact::{Claim, Fact, NameKind, Source};
use crate::name::Text;

/// Asks `server` for the names of `addresses`, and tells them.
pub(super) async fn reverse(
    addresses: impl Iterator<Item = IpAddr>,
    server: SocketAddr,
    key: CookieKey,
    facts: &mpsc::Sender<Fact>,
) -> io::Result<()> {
    let mut receivers = JoinSet::new();
    let (tell, mut told) = mpsc::channel(CROWD);
    let mut sockets = Vec::new();
    for port in 0..PORTS {
        let socket = Arc::new(connected(server).await?);
        receivers.spawn(receive(Arc::clone(&socket), port, tell.clone()));
        sockets.push(socket);
    }
    let mut core = Resolver::new(Config { ports: PORTS, window: WINDOW, key });
    let (mut addresses, mut long) = (addresses.peekable(), JoinSet::new());
    loop {
        // As many as fly at once: the rest waits where it is.
        while core.pending() < usize::from(PORTS) * WINDOW
            && let Some(address) = addresses.next()
        {
            core.handle_input(Instant::now(), Input::Address(address));
        }
        while let Some(output) = core.poll_output() {
            match output {
                // A datagram that finds no room is lost like any other.
                Output::Send { port, bytes } => drop(sockets[usize::from(port)].try_send(&bytes)),
                Output::Long(address) => drop(long.spawn(by_tcp(server, address))),
                Output::Named { address, names } => tell_names(facts, address, names).await,
                Output::Unknown(_) => {}
            }
        }
        if core.pending() == 0 && addresses.peek().is_none() && long.is_empty() {
            return Ok(());
        }
        let deadline = core.poll_timeout().unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            Some((port, bytes)) = told.recv() => {
                core.handle_input(Instant::now(), Input::Datagram { port, bytes: &bytes });
                while let Ok((port, bytes)) = told.try_recv() {
                    core.handle_input(Instant::now(), Input::Datagram { port, bytes: &bytes });
                }
            }
            Some(answer) = long.join_next(), if !long.is_empty() => {
                if let Ok(Some((address, names))) = answer {
                    tell_names(facts, address, names).await;
                }
            }
            () = tokio::time::sleep_until(deadline.into()) => core.handle_timeout(Instant::now()),
        }
    }
}

async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Passes on what comes in, until nobody wants it.
async fn receive(socket: Arc<UdpSocket>, port: u8, tell: mpsc::Sender<(u8, Vec<u8>)>) {
    let mut buffer = [0; DATAGRAM];
    loop {
        // "Connection refused" means that the server is not there now; the resolver gives up by its own clock.
        let Ok(len) = socket.recv(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if tell.send((port, buffer[..len].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Asks for one name by TCP (RFC 7766).
async fn by_tcp(server: SocketAddr, address: IpAddr) -> Option<(IpAddr, Vec<Text>)> {
    let asked = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
        let question = dns::question(ID, address);
        let len = u16::try_from(question.len()).ok()?;
        stream.write_all(&[&len.to_be_bytes()[..], &question].concat()).await.ok()?;
        let mut bytes = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut bytes).await.ok()?;
        match dns::reply(ID, address, &bytes)? {
            Reply::Names(names) => Some((address, names)),
            Reply::Truncated | Reply::Failed => None,
        }
    };
    tokio::time::timeout(LONG, asked).await.ok().flatten()
}

async fn tell_names(facts: &mpsc::Sender<Fact>, address: IpAddr, names: Vec<Text>) {
    for name in names {
        let claim = Claim::Name(NameKind::Dns, name);
        // Nobody listens any more: the poll ends by itself.
        let _ =
            facts.send(Fact { address, claim, source: Source::ReverseDns, seen: SystemTime::now() }).await;
    }
}

/// The name server of this machine (resolv.conf(5)).
pub(super) fn system_server() -> Option<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|server| server.trim().parse::<IpAddr>().ok())
        .next()
        .map(|server| (server, DNS).into())
}

/// Ports that questions leave from.
const PORTS: u8 = 16;
/// Questions in flight on each; the resolver finds out how many the server takes.
const WINDOW: usize = 64;
/// Answers on their way to the resolver.
const CROWD: usize = 1024;
/// Without extensions no answer is longer (RFC 1035, 4.2.1).
const DATAGRAM: usize = 512;
/// How long one question by TCP may take.
const LONG: Duration = Duration::from_secs(2);
/// A connection has one question: any identifier does.
const ID: u16 = 1;
const DNS: u16 = 53;
