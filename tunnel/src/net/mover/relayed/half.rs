//! One direction of a relay's pair.

use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::{Pipe, Size};
use super::splice;
use super::throttle::Throttle;
use crate::net::mover::buffer::Buffer;
use crate::net::mover::half::Broken;
use crate::net::mover::hush::Hush;

/// Reads from one socket, writes to the other, and passes the end of the stream on.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) state: State,
    gear: Gear,
    hush: Hush,
}

/// What the direction waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Bytes to read.
    Reading,
    /// The writer, to take these that were copied.
    Copying(Buffer),
    /// The writer, to take what the pipe holds. It is emptied before anything more is spliced into it: a full pipe and
    /// an empty socket would both be told as "try again", and waiting for the wrong one is waiting for ever.
    Splicing(Pipe),
    /// Nothing more: the end was passed on.
    Ended,
}

/// How the next bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gear {
    /// By a copy: two system calls for a keystroke, and no pipe.
    Little,
    /// By a pipe; so many bytes were moved this way without a break.
    Bulk(u64),
}

/// What one direction has done in one turn.
#[derive(Debug)]
pub(super) struct Turn {
    splice: bool,
    pub(super) spliced: usize,
    pub(super) copied: usize,
    calls: u32,
}

impl Half {
    pub(super) fn new() -> Self {
        Self::in_state(State::Reading)
    }

    pub(super) fn in_state(state: State) -> Self {
        Self { state, gear: Gear::Little, hush: Hush::default() }
    }

    /// Moves what can be moved now, within the budget of a turn; ready once the stream has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &TcpStream,
        writer: &TcpStream,
        throttle: Option<&mut Throttle>,
        turn: &mut Turn,
    ) -> Poll<Result<(), Broken>> {
        let polled = self.work(cx, reader, writer, throttle, turn);
        self.hush.apply(reader);
        polled
    }

    /// Lets every arrival at the reader be told again.
    pub(super) fn unhush(&mut self, reader: &TcpStream) {
        self.hush.want(false);
        self.hush.apply(reader);
    }

    fn work(
        &mut self,
        cx: &mut Context<'_>,
        reader: &TcpStream,
        writer: &TcpStream,
        mut throttle: Option<&mut Throttle>,
        turn: &mut Turn,
    ) -> Poll<Result<(), Broken>> {
        while !turn.is_over() {
            turn.calls += 1;
            match &mut self.state {
                State::Reading => {
                    if let Some(throttle) = &mut throttle {
                        ready!(throttle.poll_open(cx));
                    }
                    let Poll::Ready(read) = self.read(cx, reader, writer, turn.splice) else {
                        self.hush.want(false);
                        return Poll::Pending;
                    };
                    self.state = read?;
                    if let Some(throttle) = &mut throttle {
                        throttle.spend(self.state.held());
                    }
                }
                State::Copying(buffer) => {
                    self.hush.want(true);
                    let send = |bytes: &[u8]| rustix::net::send(writer, bytes, SendFlags::NOSIGNAL);
                    let taken = ready!(write(cx, writer, || Ok(send(buffer.pending())?)))?;
                    buffer.taken(taken);
                    turn.copied += taken;
                    if buffer.pending().is_empty() {
                        self.state = State::Reading;
                    }
                }
                State::Splicing(pipe) => {
                    self.hush.want(true);
                    turn.spliced += ready!(write(cx, writer, || splice::from_pipe(pipe, writer)))?;
                    if pipe.held() == 0 {
                        self.state = State::Reading;
                    }
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
        // The turn is over, not the work.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what is there; gives the state that follows. At the end of the stream it is passed on.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &TcpStream,
        writer: &TcpStream,
        splice: bool,
    ) -> Poll<Result<State, Broken>> {
        let pipe = match self.gear {
            Gear::Bulk(moved) if splice => {
                Pipe::borrow(if moved < LONG_FLOW { Size::Usual } else { Size::Large })
            }
            _ => None,
        };
        let (state, length) = match pipe {
            Some(mut pipe) => {
                let length = ready!(read(cx, reader, || splice::into_pipe(reader, &mut pipe)))?;
                (State::Splicing(pipe), length)
            }
            None => {
                let mut buffer = Buffer::borrow();
                let receive = |space: &mut [u8]| rustix::net::recv(reader, space, RecvFlags::empty());
                let length = ready!(read(cx, reader, || Ok(receive(buffer.space())?.0)))?;
                buffer.filled(length);
                (State::Copying(buffer), length)
            }
        };
        self.shift(length);
        if length > 0 {
            return Poll::Ready(Ok(state));
        }
        // A socket that cannot be shut has lost its peer: the other direction will say so.
        let _ = SockRef::from(writer).shutdown(Shutdown::Write);
        Poll::Ready(Ok(State::Ended))
    }

    /// Chooses how to move what comes next by how much came now.
    fn shift(&mut self, length: usize) {
        self.gear = match self.gear {
            _ if length < LITTLE => Gear::Little,
            Gear::Little if length < BULK => Gear::Little,
            Gear::Little => Gear::Bulk(0),
            Gear::Bulk(moved) => Gear::Bulk(moved.saturating_add(length as u64)),
        };
    }
}

impl State {
    /// Bytes read and not yet written.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Copying(buffer) => buffer.pending().len(),
            Self::Splicing(pipe) => pipe.held(),
            Self::Reading | Self::Ended => 0,
        }
    }
}

impl Turn {
    /// A turn that may use `splice(2)`, or must not.
    pub(super) const fn new(splice: bool) -> Self {
        Self { splice, spliced: 0, copied: 0, calls: 0 }
    }

    pub(super) fn moved(&self) -> usize {
        self.spliced + self.copied
    }

    fn is_over(&self) -> bool {
        self.moved() >= BUDGET || self.calls >= CALLS
    }
}

/// Reads once the socket is ready to.
fn read(
    cx: &mut Context<'_>,
    reader: &TcpStream,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<Result<usize, Broken>> {
    loop {
        ready!(reader.poll_read_ready(cx)).map_err(|_| Broken)?;
        match reader.try_io(Interest::READABLE, &mut call) {
            Err(error) if again(&error) => {}
            result => return Poll::Ready(result.map_err(|_| Broken)),
        }
    }
}

/// Writes once the socket is ready to.
fn write(
    cx: &mut Context<'_>,
    writer: &TcpStream,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<Result<usize, Broken>> {
    loop {
        ready!(writer.poll_write_ready(cx)).map_err(|_| Broken)?;
        match writer.try_io(Interest::WRITABLE, &mut call) {
            Err(error) if again(&error) => {}
            result => return Poll::Ready(result.map_err(|_| Broken)),
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Most bytes of one direction in one turn: a bulk stream leaves room for the keystrokes of its neighbours.
const BUDGET: usize = 256 * 1024;
/// Most steps of one direction in one turn, for streams of small segments.
const CALLS: u32 = 32;
/// A read of at least this much is the beginning of bulk.
const BULK: usize = 32 * 1024;
/// A read of less than this is not worth a pipe.
const LITTLE: usize = 4096;
/// After this much without a break a direction is given the larger pipe.
const LONG_FLOW: u64 = 8 * 1024 * 1024;
