//! A hostile server: it has the true server's certificate and port, and says what it likes to an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use klnet_tunnel::hello::{self, Parsed};
use klnet_tunnel::label::Cookie;
use klnet_wire::frame::Frame;
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::{ALPN_AGENT, Clients, Shown, server_config};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Hello, Message, TunnelState, Welcome};
use klnet_wire::signed::Signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{PATIENCE, Stage};

/// Listens where the true server's agents connect to.
pub(crate) struct HostileServer {
    tls: TlsAcceptor,
    controls: mpsc::UnboundedReceiver<TcpStream>,
    dial_backs: Arc<AtomicUsize>,
}

/// A control connection after HELLO.
pub(crate) struct HostileSession {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
    pub(crate) hello: Hello,
}

impl HostileServer {
    /// Takes the place of the stage's server, which must have ended.
    pub(crate) async fn take_over(stage: &Stage) -> Result<Self> {
        let fabric = stage.fabric()?;
        let identity = fabric.server_identity(&["127.0.0.1".into()], SystemTime::now())?;
        let clients = Clients::Required(&[Role::Agent]);
        let tls =
            server_config(&Shown::new(&identity), fabric.trust().clone(), None, clients, &[ALPN_AGENT])?;
        let listener = TcpListener::bind(("127.0.0.1", stage.ports.agents)).await?;
        let (sender, controls) = mpsc::unbounded_channel();
        let dial_backs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dial_backs);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match is_dial_back(&stream).await {
                    true => drop(counter.fetch_add(1, Ordering::SeqCst)),
                    false => drop(sender.send(stream)),
                }
            }
        });
        Ok(Self { tls: tls.into(), controls, dial_backs })
    }

    /// Waits for the agent, and welcomes it to the session of this epoch, or to the one it asks for.
    pub(crate) async fn welcome(&mut self, epoch: Option<u64>) -> Result<HostileSession> {
        let stream = timeout(PATIENCE, self.controls.recv()).await?.context("the listener lives")?;
        let stream = self.tls.accept(stream).await?;
        let mut session = HostileSession { stream, input: BytesMut::new(), hello: Hello::default() };
        let Message::Hello(hello) = session.receive().await? else { bail!("an agent says HELLO first") };
        session.hello = *hello;
        let welcome = Welcome {
            features: session.hello.features,
            heartbeat_ms: 60_000,
            reconnect_window_ms: 50,
            epoch: epoch.unwrap_or(session.hello.epoch),
            clock: session.hello.clock,
            ..Welcome::default()
        };
        session.send(&Message::Welcome(welcome)).await?;
        Ok(session)
    }

    /// Connections that agents dialled back for a tunnel.
    pub(crate) fn dial_backs(&self) -> usize {
        self.dial_backs.load(Ordering::SeqCst)
    }
}

impl HostileSession {
    pub(crate) async fn send(&mut self, message: &Message) -> Result<()> {
        let mut frame = BytesMut::new();
        message.encode(0, &mut frame)?;
        self.stream.write_all(&frame).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message of the agent.
    pub(crate) async fn receive(&mut self) -> Result<Message> {
        loop {
            while let Some(frame) = Frame::decode(&mut self.input)? {
                if let Some(message) = Message::decode(&frame)? {
                    return Ok(message);
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await??;
            anyhow::ensure!(read > 0, "the agent closed");
        }
    }

    /// Sends GRANT and gives the agent's word on it: nothing when it takes the grant, else why not.
    pub(crate) async fn offer(&mut self, signed: Signed) -> Result<Option<String>> {
        self.send(&Message::Grant(signed)).await?;
        match self.state().await? {
            TunnelState { state, .. } if state == State::GrantAccepted as i32 => Ok(None),
            TunnelState { state, reason, .. } if state == State::GrantRefused as i32 => Ok(Some(reason)),
            other => bail!("no answer to a grant: {other:?}"),
        }
    }

    /// The next tunnel state; what else the agent says meanwhile is passed over.
    pub(crate) async fn state(&mut self) -> Result<TunnelState> {
        loop {
            match self.receive().await? {
                Message::TunnelState(state) => return Ok(state),
                Message::Ping => self.send(&Message::Pong).await?,
                _ => {}
            }
        }
    }

    /// Whether the agent has read everything sent so far: it answers a PING after it.
    pub(crate) async fn settled(&mut self) -> Result<()> {
        self.send(&Message::Ping).await?;
        while self.receive().await? != Message::Pong {}
        Ok(())
    }
}

async fn is_dial_back(stream: &TcpStream) -> bool {
    let mut first = [0; 2048];
    let peeked = timeout(PEEK_TIMEOUT, stream.peek(&mut first)).await;
    let Ok(Ok(len)) = peeked else { return false };
    match hello::parse(&first[..len]) {
        Ok(Parsed::Hello(hello)) => {
            hello.server_name.is_some_and(|name| Cookie::from_server_name(&name).is_some())
        }
        _ => false,
    }
}

const PEEK_TIMEOUT: Duration = Duration::from_secs(3);
