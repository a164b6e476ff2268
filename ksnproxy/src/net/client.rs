//! The asking side: by datagrams under a ticket, by TCP, and by TLS.
//!
//! ```no_run
//! # async fn example(identity: klnet_wire::identity::tls::Identity, trust: klnet_wire::identity::Trust)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use klnet_ksnproxy::net::client::{Datagrams, Secure};
//! use klnet_ksnproxy::subject::{Digest, Subject};
//!
//! let mut proxy = Secure::connect("proxy.lan", 13111, &identity, trust).await?;
//! let mut datagrams = Datagrams::connect("proxy.lan", 15111, Some(proxy.ticket().await?)).await?;
//! let key = Subject::File(Digest::parse(b"275a021bbfb6489e54d471899f7db9d1")?, None).key();
//! println!("{:?}", datagrams.query(&[key]).await?);
//! # Ok(())
//! # }
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use klnet_wire::identity::Trust;
use klnet_wire::identity::tls::{ALPN_HTTP, Identity, client_config};
use klnet_wire::net::dial::{DialError, dial};
use klnet_wire::net::https::{ApiError, Client};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::stream::{FrameError, Frames};
use crate::frame::{
    self, DATAGRAM_KEYS_LIMIT, DATAGRAM_LIMIT, Header, KEYS_LIMIT, Malformed, Op, QUERY_LIMIT, Reason,
};
use crate::subject::Key;
use crate::ticket::{Direction, Sealer, Ticket};
use crate::verdict::Verdict;

/// Asks by datagrams.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    /// What queries are sealed with; they are plain without.
    sealer: Option<Sealer>,
    /// The number of the ticket, or the last cookie.
    token: u64,
    /// The next counter.
    serial: u64,
}

/// Asks on a connection.
#[derive(Debug)]
pub struct Stream<S> {
    frames: Frames<ReadHalf<S>>,
    writer: WriteHalf<S>,
    serial: u64,
}

/// Plain queries on TCP, for a proxy that allows them.
pub type Plain = Stream<TcpStream>;

/// Queries within TLS: to a proxy on 13111, or to a reputation server on 1443.
pub type Secure = Stream<TlsStream<TcpStream>>;

/// Queries over HTTPS, each on a connection of its own.
#[derive(Debug)]
pub struct Https(Client);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection was made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The identity is not usable.
    #[error("the identity is not usable: {0}")]
    Identity(#[from] rustls::Error),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// HTTPS failed.
    #[error(transparent)]
    Https(#[from] ApiError),
    /// Nobody answered.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More keys than one frame has.
    #[error("{0} keys exceed the limit of {1}")]
    TooMany(usize, usize),
}

/// Why a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only who has a ticket is answered.
    #[error("plain queries are not answered there; an identity is needed")]
    Plain,
    /// The ticket is over.
    #[error("the ticket is not known there, or its time is over")]
    Ticket,
    /// Ask later.
    #[error("too many queries")]
    Rate,
    /// The other end does not do that.
    #[error("the other end does not answer this")]
    Op,
}

impl Datagrams {
    /// Asks `host`, which is a name or an address; sealed with a ticket.
    ///
    /// # Errors
    /// [`AskError::Io`].
    pub async fn connect(host: &str, port: u16, ticket: Option<Ticket>) -> Result<Self, AskError> {
        let address = tokio::net::lookup_host((host, port))
            .await?
            .next()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let any: std::net::SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // The serial of a plain query is drawn, so that nobody off the path can answer it.
        let serial = if ticket.is_some() { 1 } else { drawn() };
        let token = ticket.as_ref().map_or(0, |ticket| ticket.number);
        Ok(Self { socket, sealer: ticket.map(|ticket| Sealer::new(&ticket.key)), token, serial })
    }

    /// The verdicts of at most [`DATAGRAM_KEYS_LIMIT`] keys, in their order.
    ///
    /// # Errors
    /// [`AskError`]; [`Refusal::Ticket`] when another ticket is needed.
    pub async fn query(&mut self, keys: &[Key]) -> Result<Vec<Verdict>, AskError> {
        check(keys, DATAGRAM_KEYS_LIMIT)?;
        let mut challenged = false;
        for wait in TRIES {
            let serial = self.send(keys).await?;
            match timeout(wait, self.receive(serial, keys.len())).await {
                Ok(Ok(Received::Verdicts(verdicts))) => return Ok(verdicts),
                Ok(Ok(Received::Cookie(_))) if self.sealer.is_some() => {
                    return Err(AskError::Refused(Refusal::Ticket));
                }
                Ok(Ok(Received::Cookie(cookie))) if !std::mem::replace(&mut challenged, true) => {
                    self.token = cookie;
                }
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Received::Cookie(_))) | Err(_) => {}
            }
        }
        Err(AskError::Timeout(TRIES.iter().sum()))
    }

    async fn send(&mut self, keys: &[Key]) -> Result<u64, AskError> {
        let serial = self.serial;
        self.serial = if self.sealer.is_some() { serial + 1 } else { drawn() };
        let mut query = Vec::with_capacity(DATAGRAM_LIMIT);
        frame::encode_query(self.token, serial, keys, &mut query);
        if let Some(sealer) = &self.sealer {
            sealer.seal_query(&mut query);
        }
        self.socket.send(&query).await?;
        Ok(serial)
    }

    /// Takes the answer with this serial; whatever else comes may be from anybody.
    async fn receive(&self, serial: u64, keys: usize) -> Result<Received, AskError> {
        let mut buffer = [0; DATAGRAM_LIMIT];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            let answer = &mut buffer[..length];
            let Ok(header) = Header::parse(answer) else { continue };
            if header.serial != serial || usize::from(header.length) != length {
                continue;
            }
            match header.op {
                Op::Challenge => return Ok(Received::Cookie(header.token)),
                Op::Refused => return Err(refused(header.count)),
                Op::Answer if usize::from(header.count) == keys => {}
                _ => continue,
            }
            let body = match &self.sealer {
                Some(sealer) if header.sealed => sealer.open(Direction::Answer, serial, answer).ok(),
                None if !header.sealed => answer.get_mut(Header::LENGTH..),
                _ => None,
            };
            if let Some(body) = body {
                return Ok(Received::Verdicts(frame::decode_verdicts(&header, body)?));
            }
        }
    }
}

enum Received {
    Verdicts(Vec<Verdict>),
    Cookie(u64),
}

impl Plain {
    /// Connects to a proxy that allows plain queries.
    ///
    /// # Errors
    /// [`AskError::Io`].
    pub async fn connect(host: &str, port: u16) -> Result<Self, AskError> {
        let connecting = timeout(PATIENCE, TcpStream::connect((host, port))).await;
        let stream = connecting.map_err(|_| AskError::Timeout(PATIENCE))??;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl Secure {
    /// Connects, shows this end's certificate, and verifies the other's.
    ///
    /// # Errors
    /// [`AskError::Dial`], [`AskError::Identity`].
    pub async fn connect(host: &str, port: u16, identity: &Identity, trust: Trust) -> Result<Self, AskError> {
        Self::with_tls(host, port, client_config(Some(identity), trust, &[])?).await
    }

    /// Connects to whom this configuration takes for a proxy, such as one device
    /// ([`device_config`](klnet_wire::identity::tls::device_config)).
    ///
    /// # Errors
    /// [`AskError::Dial`].
    pub async fn with_tls(host: &str, port: u16, tls: Arc<ClientConfig>) -> Result<Self, AskError> {
        Ok(Self::new(dial(host, port, tls).await?.0))
    }

    /// Asks for a ticket.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ticket(&mut self) -> Result<Ticket, AskError> {
        let serial = self.next_serial();
        let mut wish = Vec::new();
        frame::encode_ticket(serial, &mut wish);
        let body = self.exchange(&wish, serial, Op::Issued).await?.1;
        Ok(Ticket::decode(&body)?)
    }
}

impl Https {
    /// Asks `host` with this identity.
    ///
    /// # Errors
    /// [`AskError::Https`] when the identity or the name is not usable.
    pub fn new(host: &str, port: u16, identity: &Identity, trust: Trust) -> Result<Self, AskError> {
        Self::with_tls(host, port, client_config(Some(identity), trust, &[ALPN_HTTP])?)
    }

    /// Asks whom this configuration takes for a proxy.
    ///
    /// # Errors
    /// [`AskError::Https`] when the name is not usable.
    pub fn with_tls(host: &str, port: u16, tls: Arc<ClientConfig>) -> Result<Self, AskError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(Self(Client::with_tls(&format!("https://{host}:{port}"), tls)?))
    }

    /// The verdicts of at most [`KEYS_LIMIT`] keys, in their order.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn query(&self, keys: &[Key]) -> Result<Vec<Verdict>, AskError> {
        check(keys, KEYS_LIMIT)?;
        let wanted: Vec<_> = keys.iter().map(|key| HEXLOWER.encode(&key.encode())).collect();
        let answer: Packed = self.0.post("/v1/keys", &wanted).await?;
        let verdict = |text: &String| {
            let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| Malformed)?;
            let packed = bytes.as_slice().try_into().map_err(|_| Malformed)?;
            Verdict::unpack(packed).map_err(|_| Malformed)
        };
        let verdicts = answer.verdicts.iter().map(verdict).collect::<Result<Vec<_>, _>>()?;
        if verdicts.len() == keys.len() { Ok(verdicts) } else { Err(Malformed.into()) }
    }
}

#[derive(serde::Deserialize)]
struct Packed {
    verdicts: Vec<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// The verdicts of at most [`KEYS_LIMIT`] keys, in their order.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn query(&mut self, keys: &[Key]) -> Result<Vec<Verdict>, AskError> {
        check(keys, KEYS_LIMIT)?;
        let serial = self.next_serial();
        let mut query = Vec::new();
        frame::encode_query(0, serial, keys, &mut query);
        let (header, body) = self.exchange(&query, serial, Op::Answer).await?;
        if usize::from(header.count) != keys.len() {
            return Err(Malformed.into());
        }
        Ok(frame::decode_verdicts(&header, &body)?)
    }

    fn new(stream: S) -> Self {
        let (reader, writer) = split(stream);
        Self { frames: Frames::new(reader, QUERY_LIMIT), writer, serial: 0 }
    }

    const fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    async fn exchange(&mut self, frame: &[u8], serial: u64, op: Op) -> Result<(Header, Vec<u8>), AskError> {
        let exchange = async {
            self.writer.write_all(frame).await?;
            self.writer.flush().await?;
            while let Some((header, frame)) = self.frames.next().await? {
                if header.serial == serial {
                    return Ok((header, frame[Header::LENGTH..].to_vec()));
                }
            }
            Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()))
        };
        let (header, body) = timeout(PATIENCE, exchange).await.map_err(|_| AskError::Timeout(PATIENCE))??;
        match header.op {
            Op::Refused => Err(refused(header.count)),
            answered if answered == op && !header.sealed => Ok((header, body)),
            _ => Err(Malformed.into()),
        }
    }
}

impl From<FrameError> for AskError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            FrameError::Malformed(_) | FrameError::TooLong(..) => Self::Malformed(Malformed),
        }
    }
}

fn check(keys: &[Key], limit: usize) -> Result<(), AskError> {
    if keys.is_empty() || keys.len() > limit { Err(AskError::TooMany(keys.len(), limit)) } else { Ok(()) }
}

fn refused(reason: u8) -> AskError {
    match Reason::from_number(reason) {
        Some(Reason::Plain) => AskError::Refused(Refusal::Plain),
        Some(Reason::Rate) => AskError::Refused(Refusal::Rate),
        Some(Reason::Ticket) => AskError::Refused(Refusal::Ticket),
        Some(Reason::Op | Reason::Gone) => AskError::Refused(Refusal::Op),
        Some(Reason::Malformed) | None => AskError::Malformed(Malformed),
    }
}

fn drawn() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    u64::from_ne_bytes(bytes)
}

/// How long each try of a datagram waits: the first for a LAN, the last for longer than a proxy's patience.
const TRIES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
];

/// How long an answer on a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
