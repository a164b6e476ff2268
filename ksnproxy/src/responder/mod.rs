//! The answering side of the codec: one frame in; an answer, silence, or somebody who waits out.
//!
//! Whatever comes, what is sent to a source that has not proved its address is a challenge of 24 bytes or nothing.

mod waiting;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::cache::{Cache, Cached};
use crate::clock::Moment;
use crate::cookie::Cookies;
use crate::counters::{Counter, Counters};
use crate::frame::{self, DATAGRAM_KEYS_LIMIT, Header, Op, Reason, TAG, VERDICT};
use crate::limiter::Limiter;
use crate::policy::{Freshness, Policy};
use crate::snapshot::Snapshot;
use crate::subject::Key;
use crate::ticket::{Direction, Session, Tickets};
use crate::verdict::{Reputation, Verdict};
pub use waiting::Waiting;

/// What all threads that answer share.
#[derive(Debug)]
pub struct Shared {
    /// What was asked for before.
    pub cache: Cache,
    /// How long it is used.
    pub policy: Policy,
    /// Who may send sealed frames.
    pub tickets: Tickets,
    /// Who receives what is sent to them.
    pub cookies: Cookies,
    /// How much anyone may ask.
    pub limiter: Limiter,
    /// Whether plain queries are answered.
    pub allow_plain: bool,
    /// What is known here; it may be changed while it is answered from.
    pub snapshot: ArcSwapOption<Snapshot>,
    /// Whether nobody else can be asked: what the snapshot does not have is then unknown.
    pub alone: bool,
    /// The Unix time until which nobody is asked.
    pub rest: AtomicU32,
}

/// Answers the frames that come to one thread.
#[derive(Debug)]
pub struct Responder {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    /// Tickets this thread has seen: they are looked up without a lock.
    sessions: HashMap<u64, Arc<Session>>,
    /// Keys that a newer verdict is wanted for.
    refresh: Vec<Key>,
    /// When each of these was wanted last, so that one of them is not wanted with every query.
    wanted: Box<[Option<(Key, u32)>; WANTED]>,
}

/// Where a frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A datagram, whose source may be anybody.
    Datagram(SocketAddr),
    /// A TCP connection.
    Stream(SocketAddr),
    /// A TLS connection with a device that showed its certificate.
    Tls([u8; 16]),
}

/// What comes of a frame.
#[derive(Debug)]
pub enum Response {
    /// Nothing is sent.
    Silence,
    /// So many bytes of the room for it are the answer.
    Answer(usize),
    /// Not everything is known here.
    Waiting(Box<Waiting>),
    /// What came is no frame: a connection is closed.
    Close,
}

impl Shared {
    /// Has nothing newer be wanted for so long: nobody could be asked, and to find that out for each answer would cost more
    /// than the answer. Less than a second is none.
    pub fn rest(&self, rest: Duration, unix: u32) {
        let until = u32::try_from(rest.as_secs()).map_or(u32::MAX, |rest| unix.saturating_add(rest));
        self.rest.store(until, Ordering::Relaxed);
    }
}

impl Responder {
    /// A responder of one thread.
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>) -> Self {
        let wanted = Box::new([None; WANTED]);
        Self {
            shared,
            counters,
            sessions: HashMap::new(),
            refresh: Vec::with_capacity(REFRESH_LIMIT),
            wanted,
        }
    }

    /// Answers one whole frame, which is opened where it is. `room` takes the answer: it needs as many bytes as the frame has.
    pub fn respond(&mut self, now: Moment, channel: Channel, frame: &mut [u8], room: &mut [u8]) -> Response {
        let Some(header) =
            Header::parse(frame).ok().filter(|header| usize::from(header.length) == frame.len())
        else {
            return self.malformed(channel);
        };
        match (header.op, header.sealed, channel) {
            (Op::Query, true, Channel::Datagram(_) | Channel::Stream(_)) => {
                self.sealed(now, channel, header, frame, room)
            }
            (Op::Query, false, Channel::Tls(device)) => {
                self.query(now, channel, header, frame, None, device, room)
            }
            (Op::Query, false, Channel::Datagram(source) | Channel::Stream(source)) => {
                self.plain(now, channel, source, header, frame, room)
            }
            // To answer these would be to answer an unproved source.
            (_, _, Channel::Datagram(_)) => self.malformed(channel),
            _ => self.refuse(header, Reason::Op, Counter::Refused, room),
        }
    }

    /// The keys that a newer verdict is wanted for since the last call.
    pub fn drain_refresh(&mut self) -> std::vec::Drain<'_, Key> {
        self.refresh.drain(..)
    }

    /// What all threads share.
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What this thread counts.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn plain(
        &mut self,
        now: Moment,
        channel: Channel,
        source: SocketAddr,
        header: Header,
        frame: &mut [u8],
        room: &mut [u8],
    ) -> Response {
        let is_datagram = matches!(channel, Channel::Datagram(_));
        if is_datagram && !self.shared.cookies.is_good(header.token, source, now.unix) {
            return self.challenge(now, source, header, room);
        }
        if !self.shared.allow_plain {
            return self.refuse(header, Reason::Plain, Counter::Refused, room);
        }
        self.query(now, channel, header, frame, None, address_bytes(source.ip()), room)
    }

    fn sealed(
        &mut self,
        now: Moment,
        channel: Channel,
        header: Header,
        frame: &mut [u8],
        room: &mut [u8],
    ) -> Response {
        let Some(session) = self.session(header.token, now.unix) else {
            return match channel {
                Channel::Datagram(source) => self.challenge(now, source, header, room),
                _ => self.refuse(header, Reason::Ticket, Counter::Refused, room),
            };
        };
        if session.open(header.serial, frame).is_err() {
            self.counters.count(Counter::NotAuthentic);
            return if matches!(channel, Channel::Datagram(_)) { Response::Silence } else { Response::Close };
        }
        let length = frame.len() - TAG;
        let device = session.device;
        self.query(now, channel, header, &mut frame[..length], Some(session), device, room)
    }

    /// A query from whom we may answer.
    #[expect(clippy::too_many_arguments, reason = "what was found out of the frame on the way here")]
    fn query(
        &mut self,
        now: Moment,
        channel: Channel,
        header: Header,
        frame: &mut [u8],
        session: Option<Arc<Session>>,
        who: [u8; 16],
        room: &mut [u8],
    ) -> Response {
        let is_datagram = matches!(channel, Channel::Datagram(_));
        if is_datagram && usize::from(header.count) > DATAGRAM_KEYS_LIMIT {
            return self.malformed(channel);
        }
        let Ok(keys) = frame::items::<{ Key::LENGTH }>(&header, &frame[Header::LENGTH..]) else {
            return self.malformed(channel);
        };
        if !self.shared.limiter.admits(&who, header.count.into(), now.instant) {
            return self.refuse(header, Reason::Rate, Counter::Limited, room);
        }
        let mut waiting = None;
        for (at, key) in keys.enumerate() {
            let Ok(key) = Key::decode(key) else { return self.malformed(channel) };
            let verdict = self.lookup(now, &key);
            let place = verdict_room(room, at);
            place.copy_from_slice(&verdict.map_or([0; VERDICT], |verdict| verdict.pack()));
            if verdict.is_none() {
                waiting.get_or_insert_with(Vec::new).push((u8::try_from(at).unwrap_or(u8::MAX), key));
            }
        }
        self.counters.add(Counter::Received, header.count.into());
        session.iter().for_each(|session| session.count(header.count));
        let missing = waiting.as_ref().map_or(0, Vec::len) as u64;
        self.counters.add(Counter::Served, u64::from(header.count) - missing);
        match waiting {
            Some(missing) => {
                let verdicts = &room[Header::LENGTH..][..usize::from(header.count) * VERDICT];
                Response::Waiting(Box::new(Waiting::new(header, session, verdicts, missing)))
            }
            None => Response::Answer(finish(header, session.as_deref(), room)),
        }
    }

    /// What the snapshot or else the cache says of a key, if it may be used.
    pub fn lookup(&mut self, now: Moment, key: &Key) -> Option<Verdict> {
        if let Some(snapshot) = self.shared.snapshot.load().as_deref() {
            let verdict = snapshot.lookup_key(key, now.unix.into());
            if self.shared.alone || verdict.reputation != Reputation::Unknown && !verdict.partial {
                return Some(verdict);
            }
        }
        let cached = self.shared.cache.find(key)?;
        let freshness =
            self.shared.policy.freshness(cached.reputation, cached.expires, cached.tenth, now.unix);
        match freshness {
            Freshness::Fresh => {}
            Freshness::Ending if cached.asked < HOT => {}
            Freshness::Ending => self.want(key, now.unix),
            Freshness::Stale => {
                self.want(key, now.unix);
                self.counters.count(Counter::Stale);
            }
            Freshness::Over => return None,
        }
        Some(verdict(&cached, freshness == Freshness::Stale, &self.shared.policy, now.unix))
    }

    /// Wants a newer verdict, at most once a second.
    fn want(&mut self, key: &Key, unix: u32) {
        if unix < self.shared.rest.load(Ordering::Relaxed) {
            return;
        }
        let at = &mut self.wanted[usize::from(key.bytes[0]) % WANTED];
        if *at != Some((*key, unix)) && self.refresh.len() < REFRESH_LIMIT {
            *at = Some((*key, unix));
            self.refresh.push(*key);
        }
    }

    fn session(&mut self, number: u64, unix: u32) -> Option<Arc<Session>> {
        if let Some(session) = self.sessions.get(&number) {
            if session.is_good(unix) {
                return Some(Arc::clone(session));
            }
            self.sessions.remove(&number);
        }
        let session = self.shared.tickets.find(number, unix)?;
        if self.sessions.len() >= self.shared.tickets.capacity() {
            self.sessions.retain(|_, session| session.is_good(unix));
        }
        self.sessions.insert(number, Arc::clone(&session));
        Some(session)
    }

    fn challenge(&self, now: Moment, source: SocketAddr, header: Header, room: &mut [u8]) -> Response {
        self.counters.count(Counter::Challenged);
        let cookie = self.shared.cookies.make(source, now.unix);
        bare(header, Op::Challenge, 0, cookie, room)
    }

    fn refuse(&self, header: Header, reason: Reason, counter: Counter, room: &mut [u8]) -> Response {
        self.counters.count(counter);
        bare(header, Op::Refused, reason as u8, header.token, room)
    }

    fn malformed(&self, channel: Channel) -> Response {
        self.counters.count(Counter::Malformed);
        if matches!(channel, Channel::Datagram(_)) { Response::Silence } else { Response::Close }
    }
}

fn bare(header: Header, op: Op, count: u8, token: u64, room: &mut [u8]) -> Response {
    room[..Header::LENGTH].copy_from_slice(&header.bare(op, count, token));
    Response::Answer(Header::LENGTH)
}

/// Puts the header of the answer in front of the verdicts in `room`, and seals it under the session.
fn finish(query: Header, session: Option<&Session>, room: &mut [u8]) -> usize {
    let header = Header { op: Op::Answer, ..query }.with_body(query.count.into(), VERDICT);
    let frame = &mut room[..header.length.into()];
    frame[..Header::LENGTH].copy_from_slice(&header.encode());
    if let Some(session) = session {
        session.sealer.seal(Direction::Answer, header.serial, frame);
    }
    frame.len()
}

fn verdict_room(room: &mut [u8], at: usize) -> &mut [u8] {
    &mut room[Header::LENGTH + at * VERDICT..][..VERDICT]
}

/// What is told of what is cached. What is stale may be used until somebody can be asked again.
fn verdict(cached: &Cached, stale: bool, policy: &Policy, unix: u32) -> Verdict {
    let seconds = |seconds: u32| std::time::Duration::from_secs(seconds.into());
    Verdict {
        reputation: cached.reputation,
        category: cached.category,
        confidence: cached.confidence,
        source: cached.source,
        ttl: if stale { policy.retry_after } else { seconds(cached.expires.saturating_sub(unix)) },
        age: seconds(unix.saturating_sub(cached.said)),
        stale,
        partial: cached.partial,
    }
}

pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// How often an entry was asked for that is fetched anew before its time is over.
const HOT: u8 = 3;

/// Most keys that wait for [`Responder::drain_refresh`]; those of more queries are wanted again by the next ones.
const REFRESH_LIMIT: usize = 256;

const WANTED: usize = 256;

#[cfg(test)]
mod tests;
