//! Byte streams as TCP looks from outside: reliable, in order, cut anywhere, and slow when packets are lost.
//!
//! Loss on the link shows as a delay of [`RETRANSMISSION`]; a partition shows as silence until it heals.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::link::{Link, travel};
use super::network::{Delivery, Happening, Network, NodeId};

/// A byte stream between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(usize);

/// An end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that dialled.
    Opener,
    /// The one that listened.
    Acceptor,
}

/// What an end of a stream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The connection stands.
    Opened,
    /// The next bytes; where they are cut means nothing.
    Data(Bytes),
    /// There is room again after a short write.
    Writable,
    /// The other end writes no more (FIN); this end still may.
    Finished,
    /// The connection is gone (RST), with whatever was on its way.
    Reset,
}

#[derive(Debug)]
pub(super) struct Stream {
    ends: [NodeId; 2],
    /// By the side that writes.
    pipes: [Pipe; 2],
    largest_segment: usize,
    is_reset: bool,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    parcels: VecDeque<StreamEvent>,
    in_flight: usize,
    /// Nothing arrives before what was sent earlier.
    last_arrival: Instant,
    stalled_until: Option<Instant>,
    /// Parcels whose time has come while nothing passes.
    overdue: usize,
    short_write: bool,
    is_finished: bool,
}

impl Network {
    /// Dials: the acceptor sees [`StreamEvent::Opened`] after one way, the opener after both.
    pub fn open(&mut self, from: NodeId, to: NodeId) -> StreamId {
        let pipe = || Pipe::new(self.now);
        let stream = Stream {
            ends: [from, to],
            pipes: [pipe(), pipe()],
            largest_segment: LARGEST_SEGMENT,
            is_reset: false,
        };
        self.streams.push(stream);
        let id = StreamId(self.streams.len() - 1);
        let reached = self.dispatch(id, Side::Opener, StreamEvent::Opened, self.now);
        self.dispatch(id, Side::Acceptor, StreamEvent::Opened, reached);
        id
    }

    /// Cuts what is written from now on into segments of at most so many bytes; 1 makes every reader's life hard.
    pub fn set_largest_segment(&mut self, stream: StreamId, bytes: usize) {
        self.streams[stream.0].largest_segment = bytes.max(1);
    }

    /// Writes as much as the window of 64 KiB takes and returns how much that was; after less than all,
    /// [`StreamEvent::Writable`] says when there is room again.
    ///
    /// # Panics
    /// After [`Network::finish`] of this side: a real socket would fail, and a core that tries is wrong.
    pub fn write(&mut self, stream: StreamId, side: Side, bytes: &Bytes) -> usize {
        let Stream { largest_segment, is_reset, .. } = self.streams[stream.0];
        let pipe = self.pipe(stream, side);
        assert!(!pipe.is_finished, "write after finish");
        if is_reset {
            return bytes.len(); // The reset has not arrived yet; the kernel would take the bytes as well.
        }
        let accepted = bytes.len().min(WINDOW - pipe.in_flight);
        pipe.in_flight += accepted;
        pipe.short_write = accepted < bytes.len();
        let mut rest = bytes.slice(..accepted);
        while !rest.is_empty() {
            let length = self.rng.within(1..largest_segment + 1).min(rest.len());
            self.dispatch(stream, side, StreamEvent::Data(rest.split_to(length)), self.now);
        }
        accepted
    }

    /// Half-closes: the other end sees [`StreamEvent::Finished`] after all that was written before.
    pub fn finish(&mut self, stream: StreamId, side: Side) {
        let pipe = self.pipe(stream, side);
        if !std::mem::replace(&mut pipe.is_finished, true) {
            self.dispatch(stream, side, StreamEvent::Finished, self.now);
        }
    }

    /// Resets: everything on its way is lost, in both directions. In a partition the other end never hears of it.
    pub fn reset(&mut self, stream: StreamId, side: Side) {
        let (from, to) = self.ends(stream, side);
        self.streams[stream.0].is_reset = true;
        let when = self.now + travel(&self.link(from, to), &mut self.rng);
        self.schedule(when, Happening::Reset { stream, from: side });
    }

    /// Lets nothing of what `side` writes arrive for a while, as on a path that has lost its route.
    pub fn stall(&mut self, stream: StreamId, side: Side, time: Duration) {
        let until = self.now + time;
        self.pipe(stream, side).stalled_until = Some(until);
        self.schedule(until, Happening::Release { stream, from: side });
    }

    /// The node at an end of a stream.
    #[must_use]
    pub fn node_of(&self, stream: StreamId, side: Side) -> NodeId {
        self.ends(stream, side).0
    }

    /// Sends a parcel off at `start`; returns when it arrives.
    fn dispatch(&mut self, stream: StreamId, from: Side, parcel: StreamEvent, start: Instant) -> Instant {
        let (here, there) = self.ends(stream, from);
        let link = self.link(here, there);
        let mut when = start + travel(&link, &mut self.rng);
        if self.rng.chance(overall_loss(&link)) {
            when += RETRANSMISSION;
        }
        let pipe = self.pipe(stream, from);
        pipe.last_arrival = pipe.last_arrival.max(when);
        pipe.parcels.push_back(parcel);
        let when = pipe.last_arrival;
        self.schedule(when, Happening::Due { stream, from });
        when
    }

    /// Time for the oldest parcel of a direction: delivers it unless nothing passes now.
    pub(super) fn stream_due(&mut self, stream: StreamId, from: Side) -> Option<Delivery> {
        if self.streams[stream.0].is_reset {
            return None;
        }
        let (here, there) = self.ends(stream, from);
        let (cut, now) = (self.is_cut(here, there), self.now);
        let pipe = self.pipe(stream, from);
        if cut || pipe.stalled_until.is_some_and(|until| now < until) {
            pipe.overdue += 1;
            return None;
        }
        let event = pipe.parcels.pop_front()?;
        if let StreamEvent::Data(bytes) = &event {
            pipe.in_flight -= bytes.len();
            if std::mem::take(&mut pipe.short_write) {
                let acknowledged = now + travel(&self.link(there, here), &mut self.rng);
                self.schedule(acknowledged, Happening::Writable { stream, side: from });
            }
        }
        Some(Delivery::Stream { stream, side: from.other(), event })
    }

    pub(super) fn stream_writable(&mut self, stream: StreamId, side: Side) -> Option<Delivery> {
        let is_reset = self.streams[stream.0].is_reset;
        (!is_reset).then_some(Delivery::Stream { stream, side, event: StreamEvent::Writable })
    }

    pub(super) fn stream_reset(&mut self, stream: StreamId, from: Side) -> Option<Delivery> {
        let (here, there) = self.ends(stream, from);
        let heard = !self.is_cut(here, there);
        heard.then_some(Delivery::Stream { stream, side: from.other(), event: StreamEvent::Reset })
    }

    /// Makes the overdue parcels of a direction due once more; they wait again if it is still blocked.
    pub(super) fn release_stream(&mut self, stream: StreamId, from: Side) {
        let overdue = std::mem::take(&mut self.pipe(stream, from).overdue);
        for _ in 0..overdue {
            self.schedule(self.now, Happening::Due { stream, from });
        }
    }

    /// After a partition the first retransmission finds the way free.
    pub(super) fn release_streams_between(&mut self, a: NodeId, b: NodeId) {
        for index in 0..self.streams.len() {
            let ends = self.streams[index].ends;
            if ends == [a, b] || ends == [b, a] {
                for from in [Side::Opener, Side::Acceptor] {
                    let when = self.now + RETRANSMISSION;
                    self.schedule(when, Happening::Release { stream: StreamId(index), from });
                }
            }
        }
    }

    /// The node of this side, then the other.
    fn ends(&self, stream: StreamId, side: Side) -> (NodeId, NodeId) {
        let [opener, acceptor] = self.streams[stream.0].ends;
        match side {
            Side::Opener => (opener, acceptor),
            Side::Acceptor => (acceptor, opener),
        }
    }

    fn pipe(&mut self, stream: StreamId, from: Side) -> &mut Pipe {
        let [opener, acceptor] = &mut self.streams[stream.0].pipes;
        match from {
            Side::Opener => opener,
            Side::Acceptor => acceptor,
        }
    }
}

impl StreamId {
    /// Streams count from 0, in the order they were opened.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

impl Pipe {
    fn new(now: Instant) -> Self {
        Self {
            parcels: VecDeque::new(),
            in_flight: 0,
            last_arrival: now,
            stalled_until: None,
            overdue: 0,
            short_write: false,
            is_finished: false,
        }
    }
}

/// A stream has no lane of its own, so bursts enter by their long-run share.
fn overall_loss(link: &Link) -> u16 {
    let Some(burst) = link.burst else { return link.loss };
    let (begin, end) = (u32::from(burst.begin), u32::from(burst.end));
    let bad = begin * 1000 / (begin + end).max(1);
    let mean = (bad * u32::from(burst.loss) + (1000 - bad) * u32::from(link.loss)) / 1000;
    u16::try_from(mean).unwrap_or(1000)
}

/// The smallest retransmission timeout of Linux (`TCP_RTO_MIN`).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Bytes written and not yet read at the other end; stands for both socket buffers.
const WINDOW: usize = 64 * 1024;
/// An Ethernet segment of payload.
const LARGEST_SEGMENT: usize = 1448;
