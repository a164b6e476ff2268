//! The initiator: redeems a blob, one connection at a time. [`ready`](super::ready) keeps some ahead of need.

mod error;
mod lease;
mod numbers;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use klnet_wire::signing::SigningKey;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::{self, ExchangeError};
use super::{inner, socket};
use crate::blob::Blob;
use crate::grant::Grant;
use crate::label::Label;
use crate::stream::{Answer, Go, SessionId};
use numbers::Numbers;

pub use error::ConnectError;
pub(super) use lease::Lease;

/// Opens the connections of one grant's session. The first connection begins the session, the others join it.
#[derive(Debug)]
pub struct Initiator {
    blob: Blob,
    tls: Arc<ClientConfig>,
    numbers: Mutex<Numbers>,
    /// Keeps the labels of handshakes under way within the relay's window.
    handshakes: Semaphore,
    session: tokio::sync::Mutex<Option<SessionId>>,
    begun: OnceLock<SystemTime>,
}

/// A connection to the target: bytes written to the stream reach the granted port.
#[derive(Debug)]
pub struct Connection {
    /// The inner TLS stream, after the target's READY.
    pub stream: TlsStream<TcpStream>,
    /// The address the target has dialled, as text.
    pub address: String,
    /// How long it took from when it was asked for to READY.
    pub took: Duration,
    /// Its place among the grant's connections.
    #[expect(dead_code, reason = "that it goes is all it is for")]
    pub(super) lease: Option<Lease>,
}

/// A connection whose handshake is done and whose GO is not said: it has reached the target's device, and no further.
#[derive(Debug)]
pub(super) struct Handshaken {
    pub(super) stream: TlsStream<TcpStream>,
    number: u32,
    /// GO went out with the last flight of the handshake.
    said_go: bool,
}

impl Initiator {
    /// An initiator that redeems `blob` with the operator's own key.
    pub fn new(blob: Blob, key: &SigningKey) -> Self {
        let tls = inner::initiator_config(key, &blob.agent);
        Self {
            blob,
            tls,
            numbers: Mutex::default(),
            handshakes: Semaphore::new(HANDSHAKES),
            session: tokio::sync::Mutex::new(None),
            begun: OnceLock::new(),
        }
    }

    /// The grant it redeems.
    pub const fn grant(&self) -> &Grant {
        &self.blob.grant
    }

    /// The second of Unix time by which the session must have begun; by the server's clock, for people.
    pub const fn expires(&self) -> u64 {
        self.blob.expires
    }

    /// When the session began, if it has.
    pub fn begun(&self) -> Option<SystemTime> {
        self.begun.get().copied()
    }

    /// Opens the next connection.
    ///
    /// A connection that ends before its inner handshake has finished is tried again under the next label: the label
    /// may have been used by somebody who copied it, or the dial-back it met may just have died.
    ///
    /// Once the session is known GO leaves together with Finished, when the target has proved its key: one flight less for
    /// relay and agent to be woken by.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let asked = Instant::now();
        let session = *self.session.lock().await;
        let handshaken = self.shake_hands(session).await?;
        self.go(handshaken, asked, ANSWER_TIMEOUT).await
    }

    /// Shakes hands with the target, and leaves it at that.
    pub(super) async fn handshake(&self) -> Result<Handshaken, ConnectError> {
        self.shake_hands(None).await
    }

    /// Shakes hands with the target, and says GO for a session that is known.
    async fn shake_hands(&self, session: Option<SessionId>) -> Result<Handshaken, ConnectError> {
        let _turn = self.handshakes.acquire().await.expect("nobody closes it");
        let begun = Instant::now();
        for _ in 0..TRIES {
            if begun.elapsed() >= PATIENCE {
                break;
            }
            let number = self.numbers().take();
            let go = session.map(|session| Go { session: Some(session), connection: number });
            if let Some(stream) = self.try_handshake(number, go.as_ref()).await? {
                self.numbers().used(number);
                return Ok(Handshaken { stream, number, said_go: go.is_some() });
            }
        }
        Err(ConnectError::NotJoined)
    }

    /// Says GO: the target dials, and the connection is there. `asked` is when somebody wanted it.
    pub(super) async fn go(
        &self,
        Handshaken { mut stream, number, said_go }: Handshaken,
        asked: Instant,
        within: Duration,
    ) -> Result<Connection, ConnectError> {
        if said_go {
            let (_, address) = answer(&mut stream, within).await?;
            return Ok(Connection { stream, address, took: asked.elapsed(), lease: None });
        }
        let mut session = self.session.lock().await;
        let address = match *session {
            Some(known) => {
                drop(session);
                go(&mut stream, Go { session: Some(known), connection: number }, within).await?.1
            }
            // The others wait here: only one GO may begin the session.
            None => {
                let first = Go { session: None, connection: number };
                let (begun, address) = go(&mut stream, first, within).await?;
                *session = Some(begun);
                self.begun.get_or_init(SystemTime::now);
                address
            }
        };
        Ok(Connection { stream, address, took: asked.elapsed(), lease: None })
    }

    /// Shakes hands under one label; `None` when the connection ended before that was done. What is said with it leaves
    /// only then.
    async fn try_handshake(
        &self,
        number: u32,
        go: Option<&Go>,
    ) -> Result<Option<TlsStream<TcpStream>>, ConnectError> {
        let label = Label::of(&self.blob.secret, self.blob.grant.id, number);
        let name = ServerName::try_from(label.server_name()).expect("a label makes a host name");
        let stream = self.reach(number).await?;
        // TLS keeps it until it may send (RFC 8446, 4.4.4: after Finished), and has room for it.
        let say_go = |tls: &mut ClientConnection| {
            if let Some(go) = go {
                tls.writer().write_all(&go.encode()).expect("a connection takes its first bytes");
            }
        };
        let connecting = TlsConnector::from(self.tls.clone()).connect_with(name, stream, say_go);
        let error = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Err(_) => return Ok(None),
            Ok(Err(error)) => error,
            // An agent that agrees to no application protocol is none of ours.
            Ok(Ok(stream)) => match inner::peer_key(stream.get_ref().1) {
                Ok(_) => return Ok(Some(stream)),
                Err(_) => return Err(ConnectError::WrongAgent),
            },
        };
        match error.downcast::<rustls::Error>() {
            Ok(rustls::Error::InvalidCertificate(_)) => Err(ConnectError::WrongAgent),
            Ok(error) => Err(ConnectError::Handshake(error)),
            Err(_) => Ok(None),
        }
    }

    /// Connects to a port of the relay; connections begin at different ones, and go on to the next that answers.
    async fn reach(&self, number: u32) -> Result<TcpStream, ConnectError> {
        let (relay, ports) = (self.blob.relay.to_string(), &self.blob.ports);
        let first = usize::try_from(number).unwrap_or_default() % ports.len();
        let mut last = (ports[first], io::Error::from(io::ErrorKind::NotConnected));
        for port in ports.iter().cycle().skip(first).take(ports.len().min(PORT_TRIES)) {
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect((relay.as_str(), *port))).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match connected.and_then(|stream| socket::prepare(&stream).map(|()| stream)) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = (*port, error),
            }
        }
        Err(ConnectError::Unreachable { relay: format!("{relay} port {}", last.0), error: last.1 })
    }

    fn numbers(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn go(
    stream: &mut TlsStream<TcpStream>,
    go: Go,
    within: Duration,
) -> Result<(SessionId, String), ConnectError> {
    match exchange::write(stream, &go.encode(), within).await {
        Ok(()) => answer(stream, within).await,
        Err(error) => Err(unanswered(error)),
    }
}

async fn answer(
    stream: &mut TlsStream<TcpStream>,
    within: Duration,
) -> Result<(SessionId, String), ConnectError> {
    match exchange::read_answer(stream, within).await {
        Ok(Answer::Ready { session, address }) => Ok((session, address)),
        Ok(Answer::Refused { reason, detail }) => Err(ConnectError::Refused { reason, detail }),
        Err(error) => Err(unanswered(error)),
    }
}

fn unanswered(error: ExchangeError) -> ConnectError {
    match error {
        // A TLS 1.3 client has finished before the server has judged its key: that judgement comes now.
        ExchangeError::Ended | ExchangeError::Io(_) => ConnectError::KeyRefused,
        error => ConnectError::NoAnswer(error),
    }
}

/// How many labels a connection may take.
const TRIES: u32 = 3;
/// No further label is taken after this long: the device is away, and will not come for another label either.
const PATIENCE: Duration = Duration::from_secs(8);
/// Handshakes at once: well below the labels the relay takes ahead of the highest used one.
const HANDSHAKES: usize = 16;
/// How many of the relay's ports are tried for a connection.
const PORT_TRIES: usize = 3;
/// How long one address of the relay may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the inner handshake may take: the relay waits up to ten seconds for a dial-back.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the answer to GO may take: the agent resolves and dials for at most five seconds each.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
