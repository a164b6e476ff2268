//! One upstream: a TLS connection that is kept while it works, and made when something is to be asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::net::dial::dial;
use klnet_wire::place::Place;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;

use super::credentials::Credentials;
use super::stream::{FrameError, Frames};
use crate::frame::{self, Header, Malformed, Op, Prefix};
use crate::subject::Key;
use crate::verdict::Verdict;

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) batch: u64,
    pub(super) keys: Arc<[Key]>,
}

/// What became of it; `None` when it failed.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) batch: u64,
    pub(super) upstream: usize,
    pub(super) verdicts: Option<Vec<Verdict>>,
}

/// An upstream.
pub(super) struct Upstream {
    pub(super) number: usize,
    pub(super) place: Place,
    pub(super) credentials: Arc<Credentials>,
    /// How many bits of each key it learns; all of them with 0.
    pub(super) prefix_bits: u8,
    /// When what was not answered never will be.
    pub(super) timeout: Duration,
    pub(super) answers: mpsc::Sender<Answered>,
}

/// A connection, and what was asked on it.
struct Connection {
    frames: Frames<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    asked: HashMap<u64, Asked>,
    /// Which key of which request a frame asks for by its prefix.
    prefixes: HashMap<u64, (u64, usize)>,
    next_serial: u64,
}

struct Asked {
    keys: Arc<[Key]>,
    until: Instant,
    /// Of a request by prefixes: what is there already.
    verdicts: Vec<Option<Verdict>>,
}

impl Upstream {
    /// Asks what `requests` brings, until nobody brings any more.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<Request>) {
        let mut outage = false;
        while let Some(request) = requests.recv().await {
            let Place { host, port, device } = &self.place;
            let tls = self.credentials.upstream(*device);
            let dialled = timeout(self.timeout, dial(host, *port, tls)).await;
            match dialled {
                Ok(Ok((stream, _))) => {
                    if std::mem::take(&mut outage) {
                        tracing::info!(host, port, "upstream is back");
                    }
                    let mut connection = Connection::new(stream);
                    let error = self.serve(&mut connection, request, &mut requests).await;
                    tracing::debug!(host, ?error, "connection to upstream ended");
                    for batch in connection.asked.into_keys() {
                        self.tell(batch, None).await;
                    }
                }
                failed => {
                    if !std::mem::replace(&mut outage, true) {
                        let error =
                            failed.map_or_else(|late| late.to_string(), |dialled| reason(dialled.err()));
                        tracing::warn!(host, port, error, "upstream cannot be reached");
                    }
                    self.tell(request.batch, None).await;
                }
            }
        }
    }

    async fn serve(
        &self,
        connection: &mut Connection,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), FrameError> {
        connection.ask(first, self).await?;
        loop {
            let due = connection.asked.values().map(|asked| asked.until).min();
            tokio::select! {
                frame = connection.frames.next() => {
                    let Some((header, frame)) = frame? else { return Ok(()) };
                    let body = &frame[Header::LENGTH..];
                    let answered = answered(&header, body, &mut connection.asked, &mut connection.prefixes)?;
                    if let Some((batch, verdicts)) = answered {
                        self.tell(batch, verdicts).await;
                    }
                }
                request = requests.recv() => {
                    let Some(request) = request else { return Ok(()) };
                    connection.ask(request, self).await?;
                }
                // Half-open, or an upstream that accepts and says nothing: another connection may do better.
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
            }
        }
    }

    async fn tell(&self, batch: u64, verdicts: Option<Vec<Verdict>>) {
        // Nobody is there any more at the end of the program.
        let _ = self.answers.send(Answered { batch, upstream: self.number, verdicts }).await;
    }
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        let (reader, writer) = split(stream);
        Self {
            frames: Frames::new(reader, ANSWER_LIMIT),
            writer,
            asked: HashMap::new(),
            prefixes: HashMap::new(),
            next_serial: 1,
        }
    }

    async fn ask(&mut self, request: Request, upstream: &Upstream) -> Result<(), FrameError> {
        let Request { batch, keys } = request;
        let mut bytes = Vec::new();
        if upstream.prefix_bits == 0 {
            frame::encode_query(0, batch, &keys, &mut bytes);
        } else {
            for (place, key) in keys.iter().enumerate() {
                let serial = self.next_serial;
                self.next_serial += 1;
                self.prefixes.insert(serial, (batch, place));
                frame::encode_prefix(serial, Prefix::of(key, upstream.prefix_bits), &mut bytes);
            }
        }
        let until = Instant::now() + upstream.timeout;
        let verdicts = vec![None; keys.len()];
        self.asked.insert(batch, Asked { keys, until, verdicts });
        let written = timeout(upstream.timeout, async {
            self.writer.write_all(&bytes).await?;
            self.writer.flush().await
        });
        written.await.unwrap_or_else(|late| Err(late.into()))?;
        Ok(())
    }
}

/// What a frame completes: a request and its verdicts, or that it failed.
#[expect(clippy::type_complexity, reason = "a request and what became of it")]
fn answered(
    header: &Header,
    body: &[u8],
    asked: &mut HashMap<u64, Asked>,
    prefixes: &mut HashMap<u64, (u64, usize)>,
) -> Result<Option<(u64, Option<Vec<Verdict>>)>, Malformed> {
    match header.op {
        Op::Answer if !header.sealed => {
            let verdicts = frame::decode_verdicts(header, body)?;
            Ok(asked.remove(&header.serial).map(|_| (header.serial, Some(verdicts))))
        }
        Op::Matches if !header.sealed => {
            let matches = frame::decode_matches(body)?;
            let Some((batch, place)) = prefixes.remove(&header.serial) else { return Ok(None) };
            let Some(request) = asked.get_mut(&batch) else { return Ok(None) };
            request.verdicts[place] = Some(matched(&request.keys[place], &matches));
            let all: Option<Vec<_>> = request.verdicts.iter().copied().collect();
            Ok(all.map(|verdicts| (batch, Some(verdicts))).inspect(|(batch, _)| drop(asked.remove(batch))))
        }
        Op::Refused => {
            let batch = prefixes.remove(&header.serial).map_or(header.serial, |(batch, _)| batch);
            Ok(asked.remove(&batch).map(|_| (batch, None)))
        }
        _ => Err(Malformed),
    }
}

/// The verdict of a key among those that begin like it: the one with its size, or the one for every size.
fn matched(key: &Key, matches: &[(Key, Verdict)]) -> Verdict {
    let of = |wanted: &Key| matches.iter().find(|(key, _)| key == wanted).map(|(_, verdict)| *verdict);
    of(key).or_else(|| of(&key.without_extent())).unwrap_or(Verdict::unknown(UNKNOWN))
}

fn reason(error: Option<klnet_wire::net::dial::DialError>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// Bytes of the longest answer.
const ANSWER_LIMIT: usize = Header::LENGTH + frame::MATCHES_LIMIT * frame::MATCH;

/// How long it is good that nothing begins like a key; the proxy's policy says less.
const UNKNOWN: Duration = Duration::from_hours(1);
