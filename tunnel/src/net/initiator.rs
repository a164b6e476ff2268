//! The initiator: redeems a blob, one connection at a time.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use klnet_wire::signing::SigningKey;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::{self, ExchangeError};
use super::{inner, socket};
use crate::blob::Blob;
use crate::grant::Grant;
use crate::label::Label;
use crate::stream::{Answer, Go, Refusal, SessionId};

/// Opens the connections of one grant's session. The first connection begins the session, the others join it.
#[derive(Debug)]
pub struct Initiator {
    blob: Blob,
    tls: Arc<ClientConfig>,
    next: AtomicU32,
    session: Mutex<Option<SessionId>>,
    begun: OnceLock<SystemTime>,
}

/// A connection to the target: bytes written to the stream reach the granted port.
#[derive(Debug)]
pub struct Connection {
    /// The inner TLS stream, after the target's READY.
    pub stream: TlsStream<TcpStream>,
    /// The address the target has dialled, as text.
    pub address: String,
    /// How long it took from the first packet to READY.
    pub took: Duration,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No port of the relay could be reached.
    #[error("cannot reach the relay {relay}: {error}")]
    Unreachable {
        /// The relay's name and the last port tried.
        relay: String,
        /// What the network says.
        error: io::Error,
    },
    /// The relay closes alike for grants that are unknown, used, expired and revoked, and when the device is away.
    #[error(
        "the relay did not join the connection: the grant is used, expired or revoked, or the device is away"
    )]
    NotJoined,
    /// The other end has another key than the blob says.
    #[error("the other end is not the device of this grant: its key is another one")]
    WrongAgent,
    /// The inner handshake failed otherwise.
    #[error("the inner TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The agent ended the connection before it answered: it takes only the key of the grant's own operator.
    #[error(
        "the device closed without an answer: the grant is for another operator's key, or has just ended"
    )]
    KeyRefused,
    /// The agent refuses, and says why.
    #[error("{}", refusal(*reason, detail))]
    Refused {
        /// For programs.
        reason: Refusal,
        /// For people.
        detail: String,
    },
    /// The agent broke the protocol or took too long.
    #[error("the device did not answer: {0}")]
    NoAnswer(ExchangeError),
}

impl ConnectError {
    /// Whether another grant for the same target may do better.
    pub const fn wants_another_grant(&self) -> bool {
        matches!(
            self,
            Self::NotJoined
                | Self::KeyRefused
                | Self::Refused { reason: Refusal::InUse | Refusal::WrongSession | Refusal::Over, .. }
        )
    }
}

impl Initiator {
    /// An initiator that redeems `blob` with the operator's own key.
    pub fn new(blob: Blob, key: &SigningKey) -> Self {
        let tls = inner::initiator_config(key, &blob.agent);
        Self { blob, tls, next: AtomicU32::new(0), session: Mutex::new(None), begun: OnceLock::new() }
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
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let mut session = self.session.lock().await;
        if let Some(known) = *session {
            drop(session);
            return Ok(self.open(Some(known)).await?.0);
        }
        // The others wait here: only one GO may begin the session.
        let (connection, begun) = self.open(None).await?;
        *session = Some(begun);
        self.begun.get_or_init(SystemTime::now);
        Ok(connection)
    }

    async fn open(&self, session: Option<SessionId>) -> Result<(Connection, SessionId), ConnectError> {
        let begun = Instant::now();
        for _ in 0..TRIES {
            if begun.elapsed() >= PATIENCE {
                break;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(mut stream) = self.handshake(number).await? else { continue };
            let (session, address) = go(&mut stream, Go { session, connection: number }).await?;
            return Ok((Connection { stream, address, took: begun.elapsed() }, session));
        }
        Err(ConnectError::NotJoined)
    }

    /// Shakes hands with the target; `None` when the connection ended before that was done.
    async fn handshake(&self, number: u32) -> Result<Option<TlsStream<TcpStream>>, ConnectError> {
        let label = Label::of(&self.blob.secret, self.blob.grant.id, number);
        let name = ServerName::try_from(label.server_name()).expect("a label makes a host name");
        let stream = self.reach(number).await?;
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, stream);
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
}

async fn go(stream: &mut TlsStream<TcpStream>, go: Go) -> Result<(SessionId, String), ConnectError> {
    let answered = async {
        exchange::write(stream, &go.encode(), ANSWER_TIMEOUT).await?;
        exchange::read_answer(stream, ANSWER_TIMEOUT).await
    };
    match answered.await {
        Ok(Answer::Ready { session, address }) => Ok((session, address)),
        Ok(Answer::Refused { reason, detail }) => Err(ConnectError::Refused { reason, detail }),
        // A TLS 1.3 client has finished before the server has judged its key: that judgement comes now.
        Err(ExchangeError::Io(_)) => Err(ConnectError::KeyRefused),
        Err(error) => Err(ConnectError::NoAnswer(error)),
    }
}

fn refusal(reason: Refusal, detail: &str) -> String {
    match detail {
        "" => reason.to_string(),
        detail => format!("{reason}: {detail}"),
    }
}

/// How many labels a connection may take.
const TRIES: u32 = 3;
/// No further label is taken after this long: the device is away, and will not come for another label either.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many of the relay's ports are tried for a connection.
const PORT_TRIES: usize = 3;
/// How long one address of the relay may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the inner handshake may take: the relay waits up to ten seconds for a dial-back.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the answer to GO may take: the agent resolves and dials for at most five seconds each.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
