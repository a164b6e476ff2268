//! The device's end of connections that a relay joins, without what an agent does with them.
//!
//! A relay moves bytes that it cannot read, so to measure it alone nobody has to encrypt any: this end keeps a real
//! control connection, takes every grant, dials back when asked, and reports the label's first flight, once it has come
//! through, as verified. What flows after it is up to the benchmark.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use anyhow::{Context, Result};
use bytes::Bytes;
use klnet_agent::control::{Control, dial};
use klnet_agent::directory::Candidate;
use klnet_agent::state::Folder;
use klnet_tunnel::grant::Grant;
use klnet_tunnel::hello::{self, Parsed};
use klnet_tunnel::label::Cookie;
use klnet_wire::id::GrantId;
use klnet_wire::identity::tls::{ALPN_AGENT, client_config};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Hello, Message, Open, TunnelState};
use klnet_wire::session::{Event, FEATURES, MINOR_MAX, MINOR_MIN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bench::server::block_on;
use crate::fleet::PATIENCE;
use crate::lab::Host;

/// A device as the relay sees it.
#[derive(Debug)]
pub(super) struct FarEnd {
    _running: DropGuard,
}

impl FarEnd {
    /// Connects the device in `folder` to the server; every connection that is joined from then on goes to `joined`.
    pub(super) fn start(
        host: &Host,
        folder: &Folder,
        server: SocketAddr,
        joined: Sender<std::net::TcpStream>,
    ) -> Result<Self> {
        let stop = CancellationToken::new();
        let (welcomed, welcome) = sync_channel(1);
        let (host, folder, stopped) = (host.clone(), folder.clone(), stop.clone());
        std::thread::spawn(move || {
            let work = async {
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => Ok(()),
                    ended = serve(&folder, server, joined, welcomed) => ended,
                }
            };
            if let Err(error) = host.inside(|| block_on(work)).and_then(|ended| ended) {
                eprintln!("the far end stops: {error:#}");
            }
        });
        welcome.recv_timeout(PATIENCE).context("the server does not welcome the far end")?;
        Ok(Self { _running: stop.drop_guard() })
    }
}

async fn serve(
    folder: &Folder,
    server: SocketAddr,
    joined: Sender<std::net::TcpStream>,
    welcomed: SyncSender<()>,
) -> Result<()> {
    let mut control = connect(folder, server).await?;
    let (verified, mut verifications) = unbounded_channel();
    loop {
        tokio::select! {
            event = control.event() => match event.context("the server has closed the control connection")? {
                Event::Welcome(_) => welcomed.send(())?,
                Event::Message(message) => obey(message, server, &control, &joined, &verified).await?,
                _ => {}
            },
            Some(open) = verifications.recv() => control.send(state(open.grant, open.cookie, State::Verified)).await,
        }
    }
}

async fn connect(folder: &Folder, server: SocketAddr) -> Result<Control> {
    let device = folder.device()?;
    let tls = client_config(Some(&device.identity), device.trust.clone(), &[ALPN_AGENT])?;
    let candidate = Candidate { host: server.ip().to_string(), port: server.port() };
    let epoch = u64::from_be_bytes(*GrantId::random().as_bytes().first_chunk().context("16 bytes")?);
    let (minor_min, minor_max, features) = (MINOR_MIN, MINOR_MAX, FEATURES);
    let host_name = device.name.unwrap_or_default();
    let hello = Hello { minor_min, minor_max, features, host_name, epoch, ..Hello::default() };
    Ok(dial(&[candidate], &tls).await?.greet(hello, 1)?)
}

async fn obey(
    message: Message,
    server: SocketAddr,
    control: &Control,
    joined: &Sender<std::net::TcpStream>,
    verified: &UnboundedSender<Open>,
) -> Result<()> {
    match message {
        Message::Grant(signed) => {
            let id = Grant::read(&signed.bytes)?.id;
            control.send(state(id.to_vec().into(), Bytes::new(), State::GrantAccepted)).await;
        }
        Message::Open(open) => {
            let cookie = Cookie::try_from(&open.cookie[..])?;
            let (joined, verified) = (joined.clone(), verified.clone());
            tokio::spawn(async move {
                // One that was not needed is closed by the relay.
                if let Ok(stream) = dial_back(server, &cookie).await {
                    let _ = verified.send(open);
                    let _ = joined.send(stream);
                }
            });
        }
        _ => {}
    }
    Ok(())
}

/// Dials back, and waits until the relay has joined the connection: then the initiator's first flight comes.
async fn dial_back(server: SocketAddr, cookie: &Cookie) -> Result<std::net::TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&hello::dial_back(cookie, [7; 32], [9; 32])).await?;
    let mut flight = Vec::new();
    while flight.is_empty() || hello::parse(&flight)? == Parsed::Incomplete {
        // Nothing follows it before the benchmark has both ends.
        anyhow::ensure!(stream.read_buf(&mut flight).await? > 0, "closed before it was joined");
    }
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn state(grant: Bytes, cookie: Bytes, state: State) -> Message {
    Message::TunnelState(TunnelState { grant, cookie, state: state.into(), reason: String::new() })
}
