//! A control server: real TLS, real sessions, decisions by the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use klnet_wire::identity::Role;
use klnet_wire::identity::tls::{ALPN_AGENT, Clients, Identity, Shown, server_config};
use klnet_wire::message::{GoAway, Hello, Message, Welcome};
use klnet_wire::net::link::{Command, drive};
use klnet_wire::session::{CloseReason, Config, Event, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::{Fabric, SOON, unix};

/// Short, so that a test that waits for a heartbeat is short too; three of them are longer than a busy machine stalls.
pub const HEARTBEAT_MS: u32 = 500;

pub struct Control {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

/// An agent that has said HELLO.
pub struct Peer {
    pub hello: Box<Hello>,
    commands: mpsc::Sender<Box<Command>>,
    events: mpsc::Receiver<Box<Event>>,
    task: JoinHandle<CloseReason>,
}

impl Control {
    pub async fn start(fabric: &Fabric) -> Self {
        Self::start_as(fabric, &fabric.identity(Role::Server)).await
    }

    pub async fn start_as(fabric: &Fabric, identity: &Identity) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let clients = Clients::Required(&[Role::Agent]);
        let tls = server_config(&Shown::new(identity), fabric.trust(), None, clients, &[ALPN_AGENT]).unwrap();
        Self { listener, tls }
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, after TLS.
    pub async fn handshake(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("an agent connects").unwrap();
        TlsAcceptor::from(self.tls.clone()).accept(stream).await
    }

    /// The next agent that says HELLO.
    pub async fn hello(&self) -> Peer {
        loop {
            // A checkup connects without a word.
            if let Some(peer) = Peer::greeted(self.handshake().await.expect("the agent is let in")).await {
                return peer;
            }
        }
    }

    /// The next agent, welcomed, told to spread its return over `window_ms`.
    pub async fn welcome(&self, window_ms: u32) -> Peer {
        let peer = self.hello().await;
        let welcome = Welcome {
            heartbeat_ms: HEARTBEAT_MS,
            reconnect_window_ms: window_ms,
            clock: unix(SystemTime::now()),
            ..Welcome::default()
        };
        peer.commands.send(Box::new(Command::Welcome(welcome))).await.unwrap();
        peer
    }
}

impl Peer {
    async fn greeted(stream: TlsStream<TcpStream>) -> Option<Self> {
        let (commands, mut command_queue) = mpsc::channel(16);
        let (event_queue, mut events) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let mut session = Session::server(Instant::now(), Config::default());
            drive(stream, &mut session, &mut command_queue, &event_queue).await
        });
        let said: Option<Box<Event>> = timeout(SOON, events.recv()).await.expect("something is said");
        match said.map(|event| *event) {
            Some(Event::Hello(hello)) => Some(Self { hello, commands, events, task }),
            _ => None,
        }
    }

    pub async fn send(&self, message: Message) {
        self.commands.send(Box::new(Command::Send(message))).await.unwrap();
    }

    pub async fn go_away(self, reconnect_ms: u32, forever: bool) {
        let last = Message::GoAway(GoAway {
            reason: "revoked by anna".into(),
            reconnect_ms,
            forever,
            ..GoAway::default()
        });
        self.commands.send(Box::new(Command::Finish(last, "test".into()))).await.unwrap();
        self.task.await.unwrap();
    }

    /// The next message of the agent; heartbeats are passed over.
    pub async fn message(&mut self) -> Option<Message> {
        let waiting = async {
            loop {
                if let Event::Message(message) = *self.events.recv().await? {
                    return Some(message);
                }
            }
        };
        timeout(SOON, waiting).await.expect("a message comes, or the end")
    }

    /// Waits for the next heartbeat.
    pub async fn heartbeat(&mut self) {
        let waiting =
            async { while *self.events.recv().await.expect("the session goes on") != Event::Heartbeat {} };
        timeout(SOON, waiting).await.expect("a heartbeat comes");
    }

    /// Cuts the connection without a word.
    pub async fn vanish(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn ended(self) -> CloseReason {
        let Self { mut events, task, commands, .. } = self;
        while timeout(SOON, events.recv()).await.expect("the session ends").is_some() {}
        drop(commands);
        task.await.unwrap()
    }
}
