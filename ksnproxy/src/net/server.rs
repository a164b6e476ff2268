//! The answering side of 1443: frames within TLS, from proxies that show a certificate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::identity::Trust;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::Identity;
use tokio::io::{AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::credentials::Credentials;
use super::seats::Seats;
use super::stream::{FrameError, Frames};
use super::tls::{HANDSHAKE, chain};
use crate::frame::{self, Header, Op, Prefix, QUERY_LIMIT, Reason};
use crate::piece::{Fetch, Piece};
use crate::subject::Key;
use crate::verdict::Verdict;

/// What a proxy asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The verdicts of these keys.
    Keys(Vec<Key>),
    /// Every key that begins like this.
    Prefix(Prefix),
    /// A piece of the snapshot.
    Fetch(Fetch),
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The verdicts, in the order of the keys.
    Verdicts(Vec<Verdict>),
    /// The keys and their verdicts.
    Matches(Vec<(Key, Verdict)>),
    /// The piece.
    Piece(Piece),
    /// No answer, and why.
    Refused(Reason),
}

/// Who answers, as of now: another identity may take its place while it serves, and a list may revoke whoever was let in.
#[derive(Debug, Clone)]
pub struct Server(Arc<Credentials>);

impl Server {
    /// A server that is `identity`. It lets in holders of certificates under `trust`, devices and servers; with `crls` none
    /// that is on one, or whose issuer has no fresh one.
    ///
    /// # Errors
    /// The rustls error when the identity is not usable.
    pub fn new(identity: &Identity, trust: &Trust, crls: Option<Arc<Crls>>) -> Result<Self, rustls::Error> {
        Credentials::new(identity, trust, crls).map(|credentials| Self(Arc::new(credentials)))
    }

    /// Has every handshake from now on be that of another identity. Who was let in and is not any more, is put out.
    ///
    /// # Errors
    /// The rustls error when the identity is not usable; the one before stays.
    pub fn identify(&self, identity: &Identity, trust: &Trust) -> Result<(), rustls::Error> {
        self.0.identify(identity, trust)
    }

    /// Answers whatever proxies ask with what `answer` says, until shutdown.
    pub async fn serve<A, F>(self, listener: TcpListener, answer: A, shutdown: CancellationToken)
    where
        A: Fn(Question) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let without_tickets = |_: &dyn Fn(&[u8]) -> bool| 0;
        tokio::spawn(Arc::clone(&self.0).follow(without_tickets, shutdown.clone()));
        let seats = Seats::new(SEATS);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = seats.take(peer.ip()) else { continue };
            let (credentials, answer) = (Arc::clone(&self.0), answer.clone());
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                tokio::select! {
                    ended = connection(stream, &credentials, answer) => {
                        tracing::debug!(%peer, ?ended, "connection ended");
                    }
                    () = shutdown.cancelled() => {}
                }
                drop(seat);
            });
        }
    }
}

async fn connection<A, F>(stream: TcpStream, credentials: &Credentials, answer: A) -> Result<(), FrameError>
where
    A: Fn(Question) -> F,
    F: Future<Output = Reply>,
{
    stream.set_nodelay(true)?;
    let changes = credentials.changes();
    let accepting = TlsAcceptor::from(credentials.devices()).accept(stream);
    let stream = timeout(HANDSHAKE, accepting).await.unwrap_or_else(|late| Err(late.into()))?;
    let chain = chain(stream.get_ref().1);
    tokio::select! {
        ended = serve_proxy(stream, answer) => ended,
        refused = credentials.until_refused(&chain, changes) => Err(io::Error::other(refused).into()),
    }
}

async fn serve_proxy<A, F>(stream: TlsStream<TcpStream>, answer: A) -> Result<(), FrameError>
where
    A: Fn(Question) -> F,
    F: Future<Output = Reply>,
{
    let (reader, mut writer) = split(stream);
    let mut frames = Frames::new(reader, QUERY_LIMIT);
    let mut output = Vec::new();
    while let Some((header, frame)) =
        timeout(IDLE, frames.next()).await.unwrap_or_else(|late| Err(io::Error::from(late).into()))?
    {
        let body = &frame[Header::LENGTH..];
        let reply = match (header.op, header.sealed) {
            (Op::Query, false) => answer(Question::Keys(frame::decode_keys(&header, body)?)).await,
            (Op::Prefix, false) => answer(Question::Prefix(Prefix::decode(body)?)).await,
            (Op::Fetch, false) => answer(Question::Fetch(Fetch::decode(body)?)).await,
            _ => Reply::Refused(Reason::Op),
        };
        encode(header, &reply, &mut output);
        if !frames.has_another() || output.len() > OUTPUT {
            let written = timeout(IDLE, async {
                writer.write_all(&output).await?;
                writer.flush().await
            });
            written.await.unwrap_or_else(|late| Err(late.into()))?;
            output.clear();
        }
    }
    Ok(())
}

fn encode(query: Header, reply: &Reply, output: &mut Vec<u8>) {
    match reply {
        Reply::Verdicts(verdicts) => frame::encode_answer(query, verdicts, output),
        Reply::Matches(matches) => frame::encode_matches(query, matches, output),
        Reply::Piece(piece) => piece.encode(query, output),
        Reply::Refused(reason) => output.extend(query.bare(Op::Refused, *reason as u8, 0)),
    }
}

/// Connections at once; above it one is closed.
const SEATS: usize = 1024;

/// How long a proxy may be silent, or not take what it asked for.
const IDLE: Duration = Duration::from_mins(5);

/// How long a lack of descriptors is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of answers that leave together at most.
const OUTPUT: usize = 64 << 10;
