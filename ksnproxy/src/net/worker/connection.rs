//! One TCP connection of a worker.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::super::seats::Seat;
use super::Table;
use crate::clock::Moment;
use crate::frame::{Header, MAGIC, QUERY_LIMIT};
use crate::responder::{Channel, Responder, Response, Waiting};

/// A connection that speaks the codec, or will say what it speaks.
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    _seat: Seat,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Queries that wait for verdicts.
    pub(super) waiting: usize,
    /// When anything came or went last.
    pub(super) active: Instant,
    /// The peer sends nothing more.
    ended: bool,
    known: bool,
    flags: EventFlags,
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait until there is something to read.
    Read,
    /// Wait until there is room to write.
    Write,
    /// Wait for verdicts.
    Wait,
    /// It speaks TLS: somebody else goes on.
    Tls,
    /// It is over.
    Close,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, seat: Seat, now: Instant) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self {
            stream,
            peer,
            _seat: seat,
            input,
            output,
            sent: 0,
            waiting: 0,
            active: now,
            ended: false,
            known: false,
            flags: EventFlags::IN,
        }
    }

    /// Reads what is there, and answers every whole frame of it. `wait` keeps what has to wait.
    pub(super) fn read(
        &mut self,
        now: Moment,
        responder: &mut Responder,
        room: &mut [u8],
        mut wait: impl FnMut(Box<Waiting>),
    ) -> Next {
        self.active = now.instant;
        if !self.known {
            let mut first = [0];
            match self.stream.peek(&mut first) {
                Ok(1) if first[0] == TLS => return Next::Tls,
                Ok(1) if first[0] == MAGIC[0] => self.known = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Read,
                _ => return Next::Close,
            }
        }
        let old = self.input.len();
        room[..old].copy_from_slice(&self.input);
        let end = match self.stream.read(&mut room[old..]) {
            Ok(0) => {
                self.ended = true;
                old
            }
            Ok(count) => old + count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return self.next();
            }
            Err(_) => return Next::Close,
        };
        let Some(used) = self.answer(now, responder, &mut room[..end], &mut wait) else { return Next::Close };
        self.input.clear();
        self.input.extend_from_slice(&room[used..end]);
        self.write()
    }

    /// Writes what is there to write.
    pub(super) fn write(&mut self) -> Next {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Next::Close,
                Ok(count) => {
                    self.sent += count;
                    self.active = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Next::Close,
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(KEPT);
            self.sent = 0;
        }
        self.next()
    }

    /// Adds the answer of a query that waited.
    pub(super) fn answer_late(&mut self, waiting: &Waiting) {
        self.waiting -= 1;
        let begin = self.output.len();
        self.output.resize(begin + QUERY_LIMIT, 0);
        let length = waiting.finish(&mut self.output[begin..]);
        self.output.truncate(begin + length);
    }

    /// Whether it has been silent for too long: sooner in the middle of a frame.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let silent = now.saturating_duration_since(self.active);
        let limit = if self.input.is_empty() && self.output.is_empty() { IDLE } else { STALLED };
        silent > limit && self.waiting == 0
    }

    /// Notes what is waited for; whether that is what was waited for before.
    pub(super) fn watched(&mut self, flags: EventFlags) -> bool {
        std::mem::replace(&mut self.flags, flags) == flags
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn into_stream(self) -> (TcpStream, SocketAddr) {
        (self.stream, self.peer)
    }

    /// Answers the frames that `bytes` begin with, and says how many bytes they had; `None` for what is no frame.
    fn answer(
        &mut self,
        now: Moment,
        responder: &mut Responder,
        bytes: &mut [u8],
        wait: &mut impl FnMut(Box<Waiting>),
    ) -> Option<usize> {
        let mut at = 0;
        while bytes.len() - at >= Header::LENGTH {
            let length = usize::from(Header::parse(&bytes[at..]).ok()?.length);
            if length > QUERY_LIMIT {
                return None;
            }
            let Some(frame) = bytes.get_mut(at..at + length) else { break };
            let begin = self.output.len();
            self.output.resize(begin + length, 0);
            let room = &mut self.output[begin..];
            let answered = match responder.respond(now, Channel::Stream(self.peer), frame, room) {
                Response::Answer(length) => length,
                Response::Silence => 0,
                Response::Waiting(waiting) => {
                    self.waiting += 1;
                    wait(waiting);
                    0
                }
                Response::Close => return None,
            };
            self.output.truncate(begin + answered);
            at += length;
        }
        Some(at)
    }

    fn next(&self) -> Next {
        match (self.output.is_empty(), self.ended, self.waiting) {
            // Nothing more is read before the peer takes what there is for it, or what it waits for has come.
            (false, ..) => Next::Write,
            (_, _, WAITING_LIMIT..) => Next::Wait,
            (_, false, _) => Next::Read,
            (_, true, 0) => Next::Close,
            (_, true, _) => Next::Wait,
        }
    }
}

/// The first byte of a TLS record that a ClientHello is in.
const TLS: u8 = 22;

/// Bytes that one read takes at most; the rest is read next time.
pub(super) const READ: usize = 32 << 10;

/// Bytes of output that stay allocated.
const KEPT: usize = 32 << 10;

/// Queries of one connection that wait for verdicts; above it nothing more is read from it.
const WAITING_LIMIT: usize = 1024;

/// A device keeps a connection for the next file, not for ever.
const IDLE: std::time::Duration = std::time::Duration::from_secs(60);

/// Within a frame, or with an answer that is not taken, a peer that does nothing is gone or means no good.
const STALLED: std::time::Duration = std::time::Duration::from_secs(5);

/// Connections of a worker.
pub(super) type Connections = Table<Connection>;

/// Makes a connection what a worker needs.
pub(super) fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
