//! The control connection: the one connection an agent keeps to its server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::ServerId;
use klnet_wire::identity::Principal;
use klnet_wire::identity::crl::{Crls, Freshness};
use klnet_wire::identity::tls::{ALPN_AGENT, checking_config};
use klnet_wire::message::{Goodbye, Hello, Message};
use klnet_wire::net::dial::{self, DialError};
use klnet_wire::net::link::{Command, Commands, drive};
use klnet_wire::outbox::Full;
use klnet_wire::session::{CloseReason, Config, Event, Session};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::directory::{Candidate, Directory};
use crate::state::Device;

/// A TLS connection to a server of the fabric, before HELLO.
#[derive(Debug)]
pub struct Dialled {
    /// Host and port as they were dialled.
    pub candidate: Candidate,
    /// The address they led to.
    pub address: SocketAddr,
    /// The device's own end.
    pub own: SocketAddr,
    /// The server, as its certificate names it.
    pub server: Option<ServerId>,
    stream: TlsStream<TcpStream>,
}

/// A session with a server. Its task ends when this is dropped.
#[derive(Debug)]
pub struct Control {
    commands: Commands,
    events: mpsc::Receiver<Box<Event>>,
    task: JoinHandle<CloseReason>,
}

/// Why none of the candidates was reached: what each of them said.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unreachable(pub Vec<DialError>);

/// Dials the candidates in order, until one of them proves to be a server of the fabric.
///
/// # Errors
/// [`Unreachable`] with the error of each.
pub async fn dial(candidates: &[Candidate], tls: &Arc<ClientConfig>) -> Result<Dialled, Unreachable> {
    let mut errors = Vec::new();
    for candidate in candidates {
        match dial::dial(&candidate.host, candidate.port, tls.clone()).await {
            Ok((stream, address)) => match stream.get_ref().0.local_addr() {
                Ok(own) => {
                    let (candidate, server) = (candidate.clone(), server_of(&stream));
                    return Ok(Dialled { candidate, address, own, server, stream });
                }
                Err(error) => errors.push(DialError::Tcp { address, error }),
            },
            Err(error) => errors.push(error),
        }
    }
    Err(Unreachable(errors))
}

/// How a control connection is made. A fabric whose key set names no issuer has no revocation lists.
///
/// # Errors
/// The rustls error when the identity is not usable.
pub fn tls(
    device: &Device,
    directory: &Directory,
    crls: &Arc<Crls>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let lists = !directory.issuers().is_empty();
    let freshness = if lists { Freshness::Enforced } else { Freshness::Waived };
    let (trust, crls) = (device.trust.clone(), Arc::clone(crls));
    checking_config(Some(&device.identity), trust, crls, freshness, &[ALPN_AGENT])
}

/// Whom the verified certificate names.
fn server_of(stream: &TlsStream<TcpStream>) -> Option<ServerId> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    Some(Principal::named_in(leaf)?.id())
}

impl Dialled {
    /// Says HELLO. `jitter_seed` spreads the heartbeats of a fleet.
    ///
    /// # Errors
    /// [`Full`] when `hello` does not fit in a frame.
    pub fn greet(self, hello: Hello, jitter_seed: u64) -> Result<Control, Full> {
        let config = Config { jitter_seed, ..Config::default() };
        let mut session = Session::agent(Instant::now(), config, hello)?;
        let (commands, mut command_queue) = mpsc::channel(QUEUE);
        let (event_queue, events) = mpsc::channel(QUEUE);
        let task =
            tokio::spawn(
                async move { drive(self.stream, &mut session, &mut command_queue, &event_queue).await },
            );
        Ok(Control { commands, events, task })
    }

    /// The connection itself, for a look at how it fares without HELLO.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }
}

impl Control {
    /// The next thing that happens; `None` once the session has ended and everything before was told.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await.map(|event| *event)
    }

    /// Queues a message; one for a session that has ended is left out.
    pub async fn send(&self, message: Message) {
        let _ = self.commands.send(Box::new(Command::Send(message))).await;
    }

    /// Says goodbye and ends the session.
    pub async fn leave(&self, reason: &str) {
        let last = Message::Goodbye(Goodbye { reason: reason.to_owned() });
        let _ = self.commands.send(Box::new(Command::Finish(last, reason.to_owned()))).await;
    }

    /// Waits for the end, and says why it came.
    pub async fn end(mut self) -> CloseReason {
        while self.events.recv().await.is_some() {}
        let ended = (&mut self.task).await;
        ended.unwrap_or_else(|error| CloseReason::Local(error.to_string()))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Commands and events that wait: more than the frames of a full burst of OPENs.
const QUEUE: usize = 64;
