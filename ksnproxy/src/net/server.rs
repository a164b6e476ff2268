//! The answering side of 1443: frames within TLS, from proxies that show a certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::seats::Seats;
use super::stream::{FrameError, Frames};
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

/// Answers whatever proxies ask with what `answer` says, until shutdown.
pub async fn serve<A, F>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    answer: A,
    shutdown: CancellationToken,
) where
    A: Fn(Question) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    serve_as(listener, watch::Sender::new(tls).subscribe(), answer, shutdown).await;
}

/// As [`serve`], each handshake with the configuration of its time.
pub async fn serve_as<A, F>(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    answer: A,
    shutdown: CancellationToken,
) where
    A: Fn(Question) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
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
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (answer, shutdown) = (answer.clone(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                ended = connection(stream, &acceptor, answer) => {
                    tracing::debug!(%peer, ?ended, "connection ended");
                }
                () = shutdown.cancelled() => {}
            }
            drop(seat);
        });
    }
}

async fn connection<A, F>(stream: TcpStream, acceptor: &TlsAcceptor, answer: A) -> Result<(), FrameError>
where
    A: Fn(Question) -> F,
    F: Future<Output = Reply>,
{
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await.unwrap_or_else(|late| Err(late.into()))?;
    let (reader, mut writer) = split(stream);
    let mut frames = Frames::new(reader, QUERY_LIMIT);
    let mut output = Vec::new();
    while let Some((header, frame)) =
        timeout(IDLE, frames.next()).await.unwrap_or_else(|late| Err(std::io::Error::from(late).into()))?
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

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a proxy may be silent, or not take what it asked for.
const IDLE: Duration = Duration::from_mins(5);

/// How long a lack of descriptors is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of answers that leave together at most.
const OUTPUT: usize = 64 << 10;
