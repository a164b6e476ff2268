//! Follows the snapshots of reputation servers on 1443: asks each so often for the newest, and takes what is not here.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use klnet_wire::net::dial::{DialError, dial};
use klnet_wire::place::Place;
use klnet_wire::signed::Signed;
use prost::Message as _;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::clock::moment;
use super::credentials::Credentials;
use super::snapshot_file::Replication;
use super::stream::{FrameError, Frames};
use crate::frame::{Header, Malformed, Op};
use crate::piece::{Collector, Item, PIECE_LIMIT, Piece, PieceError};
use crate::snapshot::{MANIFEST_MOST, Manifest, Replica, ReplicaError};

/// Who follows.
pub(super) struct Replicator {
    pub(super) replica: Replica,
    pub(super) from: Replication,
    pub(super) credentials: Arc<Credentials>,
    /// When a server last said that nothing is newer than what is here, in Unix time; 0 before it has.
    pub(super) checked: Arc<AtomicU32>,
}

/// A connection to a reputation server.
struct Line {
    frames: Frames<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
}

/// Why a server's snapshot was not taken.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Piece(#[from] PieceError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("the server does not send it (reason {0}); it may have another snapshot by now")]
    Refused(u8),
    #[error("there is no server")]
    Nobody,
}

impl Replicator {
    /// Follows until shutdown. It reads and writes files where it runs: that is a thread of its own.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let first = RETRY.min(self.from.every);
        let (mut pause, mut outage) = (first, false);
        loop {
            let round = tokio::select! {
                round = self.round() => round,
                () = shutdown.cancelled() => return,
            };
            let wait = match round {
                Ok(news) => {
                    if let Some(manifest) = news {
                        tracing::info!(sequence = manifest.sequence, "another snapshot was replicated");
                    }
                    (pause, outage) = (first, false);
                    self.from.every
                }
                Err(error) => {
                    if !std::mem::replace(&mut outage, true) {
                        tracing::warn!(%error, "no newer snapshot can be had");
                    }
                    let next = (pause * 2).min(self.from.every);
                    std::mem::replace(&mut pause, next)
                }
            };
            tokio::select! {
                () = sleep(jittered(wait)) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Asks one server after the other until one has what can be taken, or nothing newer.
    async fn round(&mut self) -> Result<Option<Manifest>, RoundError> {
        let mut last = RoundError::Nobody;
        for place in self.from.servers.clone() {
            match self.follow(&place).await {
                Ok(news) => {
                    self.checked.store(moment().unix, Ordering::Relaxed);
                    return Ok(news);
                }
                Err(error) => {
                    tracing::debug!(host = place.host, port = place.port, %error, "no snapshot was taken");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn follow(&mut self, place: &Place) -> Result<Option<Manifest>, RoundError> {
        let tls = self.credentials.upstream(place.device);
        let mut line = Line::new(dial(&place.host, place.port, tls).await?.0);
        let signed = line.fetch(0, Item::Manifest, SIGNED_MOST).await?;
        let signed = Signed::decode(Bytes::from(signed)).map_err(|_| FrameError::from(Malformed))?;
        let Some(mut filling) = self.replica.begin(signed)? else { return Ok(None) };
        let sequence = filling.manifest().sequence;
        while let Some(segment) = filling.next_missing()? {
            let place = u32::try_from(segment.ordinal).map_err(|_| FrameError::from(Malformed))?;
            let bytes = line.fetch(sequence, Item::Segment(place), segment.length()).await?;
            filling.put(&segment, &bytes)?;
        }
        Ok(Some(self.replica.publish(filling)?))
    }
}

impl Line {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        let (reader, writer) = split(stream);
        Self { frames: Frames::new(reader, PIECE_LIMIT), writer }
    }

    /// One item, piece by piece.
    async fn fetch(&mut self, sequence: u64, item: Item, limit: u64) -> Result<Vec<u8>, RoundError> {
        let mut collector = Collector::new(sequence, item, limit);
        while !collector.is_whole() {
            let mut wishes = Vec::new();
            while let Some(fetch) = collector.poll_fetch() {
                fetch.encode(fetch.number.into(), &mut wishes);
            }
            in_time(async {
                self.writer.write_all(&wishes).await?;
                Ok(self.writer.flush().await?)
            })
            .await?;
            let Some((header, frame)) = in_time(self.frames.next()).await? else {
                return Err(FrameError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into());
            };
            match header.op {
                Op::Piece => {
                    let piece = Piece::decode(&frame[Header::LENGTH..]).map_err(FrameError::from)?;
                    collector.take(&piece)?;
                }
                Op::Refused => return Err(RoundError::Refused(header.count)),
                _ => return Err(FrameError::from(Malformed).into()),
            }
        }
        Ok(collector.into_bytes())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    timeout(PATIENCE, work).await.unwrap_or_else(|late| Err(io::Error::from(late).into()))
}

/// From half of it to all of it, so that proxies which lost a server together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    SystemRandom::new().fill(&mut byte).expect("the operating system gives randomness");
    pause / 2 + pause * u32::from(byte[0]) / 512
}

/// When a server is asked again that had nothing; twice as long each time, up to the time between two looks.
const RETRY: Duration = Duration::from_secs(5);

/// How long a server may take for one piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// A manifest, its signature, and the framing of both.
const SIGNED_MOST: u64 = MANIFEST_MOST as u64 + 1024;
