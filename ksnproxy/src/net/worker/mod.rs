//! A worker: one thread that answers datagrams and TCP connections, and waits for nobody.

mod connection;
mod datagrams;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use slotmap::{Key as _, KeyData, SlotMap};
use tokio::sync::mpsc;

use super::clock::moment;
use super::fetch::{Ask, Asks};
use super::inbox::{Inbox, Letter, Waiter};
use super::seats::Seats;
use crate::clock::Moment;
use crate::counters::Counter;
use crate::responder::{Channel, Responder, Response, Waiting};
use crate::verdict::Verdict;
use connection::{Connection, Connections, Next};
use datagrams::{BATCH, Datagrams, Envelope};

/// A table whose keys are not used again for what comes after.
type Table<T> = SlotMap<slotmap::DefaultKey, T>;

/// What a worker is made of.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) udp: UdpSocket,
    pub(super) listener: TcpListener,
    pub(super) responder: Responder,
    pub(super) inbox: Inbox,
    pub(super) asks: Asks,
    /// Connections that speak TLS go there.
    pub(super) tls: mpsc::Sender<(TcpStream, SocketAddr)>,
    /// Of the connections of all workers.
    pub(super) seats: Arc<Seats>,
    pub(super) stop: Arc<AtomicBool>,
}

/// A worker at work.
struct Work {
    worker: Worker,
    epoll: OwnedFd,
    datagrams: Datagrams,
    connections: Connections,
    waiting: Table<(Box<Waiting>, To)>,
    room: Box<[u8]>,
    /// The socket is bound to no address in particular.
    addressed: bool,
    listening: bool,
    swept: Instant,
}

/// Whom an answer is for.
enum To {
    Source(Box<Envelope>),
    Connection(slotmap::DefaultKey),
}

impl Worker {
    /// Works until it is told to stop.
    ///
    /// # Errors
    /// What the system says when it cannot begin, or takes the sockets away.
    pub(super) fn run(self) -> io::Result<()> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, self.udp.as_fd(), UDP)?;
        watch(&epoll, self.listener.as_fd(), LISTENER)?;
        watch(&epoll, self.inbox.bell(), BELL)?;
        let work = Work {
            addressed: self.udp.local_addr()?.ip().is_unspecified(),
            worker: self,
            epoll,
            datagrams: Datagrams::new(),
            connections: Table::new(),
            waiting: Table::new(),
            room: vec![0; connection::READ + crate::frame::QUERY_LIMIT].into(),
            listening: true,
            swept: Instant::now(),
        };
        work.run()
    }
}

impl Work {
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        while !self.worker.stop.load(Ordering::Relaxed) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&second)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let now = moment();
            for event in &events {
                match event.data.u64() {
                    UDP => self.receive(now),
                    LISTENER => self.accept(now),
                    BELL => self.take_letters(),
                    key => self.connection(now, KeyData::from_ffi(key).into(), event.flags),
                }
            }
            self.refresh();
            if now.instant - self.swept > SWEEP {
                self.sweep(now);
            }
        }
        Ok(())
    }

    /// Answers datagrams until there are none, or others have waited long enough.
    fn receive(&mut self, now: Moment) {
        for _ in 0..ROUNDS {
            let Ok(received) = self.datagrams.receive(&self.worker.udp, self.addressed) else { return };
            for at in 0..received {
                self.datagram(now, at);
            }
            self.datagrams.send(&self.worker.udp);
            if received < BATCH {
                return;
            }
        }
    }

    fn datagram(&mut self, now: Moment, at: usize) {
        let Some((source, frame, room)) = self.datagrams.datagram(at) else {
            return self.worker.responder.counters().count(Counter::Malformed);
        };
        match self.worker.responder.respond(now, Channel::Datagram(source), frame, room) {
            Response::Answer(length) => self.datagrams.answer(at, source, length),
            Response::Waiting(waiting) => {
                let to = To::Source(Box::new(self.datagrams.envelope(at)));
                self.wait(waiting, to);
            }
            Response::Silence | Response::Close => {}
        }
    }

    /// Keeps a query until its verdicts come. Those that cannot even be asked for are unavailable at once.
    fn wait(&mut self, mut waiting: Box<Waiting>, to: To) {
        let missing = waiting.missing().to_vec();
        if self.waiting.len() >= WAITING_LIMIT {
            self.worker.responder.counters().add(Counter::RejectedFull, missing.len() as u64);
            for (place, _) in missing {
                waiting.take(place, &Verdict::unavailable(RETRY));
            }
            return self.answer(&waiting, to);
        }
        let entry = self.waiting.insert((waiting, to)).data().as_ffi();
        for (place, key) in missing {
            let waiter = Waiter::Worker { worker: self.worker.number, entry, place };
            if self.worker.asks.try_send(Ask { key, waiter: Some(waiter) }).is_err() {
                self.worker.responder.counters().count(Counter::RejectedFull);
                self.deliver(&Letter { entry, place, verdict: Verdict::unavailable(RETRY) });
            }
        }
    }

    fn take_letters(&mut self) {
        self.worker.inbox.silence();
        while let Some(letter) = self.worker.inbox.take() {
            self.deliver(&letter);
        }
        self.datagrams.send(&self.worker.udp);
    }

    /// Answers a query once its last verdict is there.
    fn deliver(&mut self, letter: &Letter) {
        let key = KeyData::from_ffi(letter.entry).into();
        let complete =
            self.waiting.get_mut(key).is_some_and(|(waiting, _)| waiting.take(letter.place, &letter.verdict));
        if let Some((waiting, to)) = complete.then(|| self.waiting.remove(key)).flatten() {
            self.answer(&waiting, to);
        }
    }

    fn answer(&mut self, waiting: &Waiting, to: To) {
        match to {
            To::Source(envelope) => {
                let Some(room) = self.datagrams.later(&envelope) else { return };
                let length = waiting.finish(room);
                if !self.datagrams.answer_later(length) {
                    self.datagrams.send(&self.worker.udp);
                }
            }
            To::Connection(key) => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.answer_late(waiting);
                    let next = connection.write();
                    self.next(key, next);
                }
            }
        }
    }

    fn accept(&mut self, now: Moment) {
        for _ in 0..ACCEPTS {
            match self.worker.listener.accept() {
                Ok((stream, peer)) => {
                    // One more than there may be is closed.
                    let Some(seat) = self.worker.seats.take(peer.ip()) else { continue };
                    let Ok(stream) = connection::prepared(stream) else { continue };
                    let key = self.connections.insert(Connection::new(stream, peer, seat, now.instant));
                    let stream = self.connections[key].stream();
                    if watch(&self.epoll, stream.as_fd(), key.data().as_ffi()).is_err() {
                        self.connections.remove(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of the connection, or a lack of descriptors: the listener rests until the next sweep.
                Err(_) => {
                    self.listening = epoll::delete(&self.epoll, &self.worker.listener).is_err();
                    return;
                }
            }
        }
    }

    fn connection(&mut self, now: Moment, key: slotmap::DefaultKey, flags: epoll::EventFlags) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return self.next(key, Next::Close);
        }
        let mut next = if flags.contains(epoll::EventFlags::OUT) { connection.write() } else { Next::Read };
        let mut waits = Vec::new();
        if next == Next::Read {
            let wait = |waiting| waits.push(waiting);
            next = connection.read(now, &mut self.worker.responder, &mut self.room, wait);
        }
        for waiting in waits {
            self.wait(waiting, To::Connection(key));
        }
        self.next(key, next);
    }

    fn next(&mut self, key: slotmap::DefaultKey, next: Next) {
        let flags = match next {
            Next::Read => epoll::EventFlags::IN,
            Next::Write => epoll::EventFlags::OUT,
            Next::Wait => epoll::EventFlags::empty(),
            Next::Tls | Next::Close => {
                let Some(connection) = self.connections.remove(key) else { return };
                let _ = epoll::delete(&self.epoll, connection.stream());
                if next == Next::Tls {
                    // Somebody who takes no more has enough of them.
                    let _ = self.worker.tls.try_send(connection.into_stream());
                }
                return;
            }
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.watched(flags) {
            return;
        }
        let data = epoll::EventData::new_u64(key.data().as_ffi());
        if epoll::modify(&self.epoll, connection.stream(), data, flags).is_err() {
            self.connections.remove(key);
        }
    }

    /// Asks for newer verdicts of what was given although its time was over, or is soon.
    fn refresh(&mut self) {
        for key in self.worker.responder.drain_refresh() {
            // Above the limit: whoever asks for it next wants it again.
            let _ = self.worker.asks.try_send(Ask { key, waiter: None });
        }
    }

    fn sweep(&mut self, now: Moment) {
        self.swept = now.instant;
        let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle(now.instant));
        for key in idle.map(|(key, _)| key).collect::<Vec<_>>() {
            self.next(key, Next::Close);
        }
        if !self.listening {
            self.listening = watch(&self.epoll, self.worker.listener.as_fd(), LISTENER).is_ok();
        }
    }
}

fn watch(epoll: &OwnedFd, what: BorrowedFd<'_>, data: u64) -> io::Result<()> {
    Ok(epoll::add(epoll, what, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?)
}

/// Marks of what is no connection: no key of a table is so small.
const UDP: u64 = 0;
const LISTENER: u64 = 1;
const BELL: u64 = 2;

/// Events of one call.
const EVENTS: usize = 256;

/// Batches of datagrams before connections have their turn.
const ROUNDS: usize = 4;

/// Connections taken in one turn.
const ACCEPTS: usize = 64;

/// Queries of one worker that wait for verdicts; above it a datagram is not answered.
const WAITING_LIMIT: usize = 1 << 16;

/// Time between two looks for idle connections.
const SWEEP: Duration = Duration::from_secs(1);

/// When to ask again if nobody here can take another question.
const RETRY: Duration = Duration::from_secs(1);
