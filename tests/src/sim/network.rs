//! The network: nodes, what flies between them, and the clock that jumps from arrival to arrival.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;

use super::link::{Lane, Link};
use super::rng::Rng;
use super::stream::{Side, Stream, StreamEvent, StreamId};

/// A node; it has no state of its own here, the test keeps that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) usize);

/// A multicast group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(usize);

/// Something that reached a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A datagram, unicast or multicast.
    Datagram {
        /// Who sent it.
        from: NodeId,
        /// Who has it now.
        to: NodeId,
        /// Exactly what was sent.
        bytes: Bytes,
    },
    /// Something happened on a byte stream.
    Stream {
        /// The stream.
        stream: StreamId,
        /// The end it happened at; [`Network::node_of`] says which node that is.
        side: Side,
        /// What happened.
        event: StreamEvent,
    },
}

/// A seeded network in virtual time.
#[derive(Debug)]
pub struct Network {
    start: Instant,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    /// Earliest first; the serial keeps arrivals of one instant in the order they were sent.
    events: BinaryHeap<Reverse<Event>>,
    serial: u64,
    nodes: usize,
    links: HashMap<(NodeId, NodeId), (Link, Lane)>,
    default_link: Link,
    groups: Vec<Vec<Member>>,
    /// Directions in which nothing passes.
    cuts: HashSet<(NodeId, NodeId)>,
    pub(super) streams: Vec<Stream>,
}

#[derive(Debug)]
struct Member {
    node: NodeId,
    link: Link,
    lane: Lane,
}

impl Network {
    /// An empty network; the same seed and the same calls give the same history.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            rng: Rng::new(seed),
            events: BinaryHeap::new(),
            serial: 0,
            nodes: 0,
            links: HashMap::new(),
            default_link: Link::default(),
            groups: Vec::new(),
            cuts: HashSet::new(),
            streams: Vec::new(),
        }
    }

    /// Adds a node.
    pub fn node(&mut self) -> NodeId {
        self.nodes += 1;
        NodeId(self.nodes - 1)
    }

    /// Sets the link of every pair that [`Network::connect`] has not named and that has not talked yet.
    pub fn set_default_link(&mut self, link: Link) {
        self.default_link = link;
    }

    /// Sets the link between two nodes, both ways; each way has its own losses and queue.
    pub fn connect(&mut self, a: NodeId, b: NodeId, link: Link) {
        self.connect_one_way(a, b, link.clone());
        self.connect_one_way(b, a, link);
    }

    /// Sets the link from one node to another.
    pub fn connect_one_way(&mut self, from: NodeId, to: NodeId, link: Link) {
        self.links.insert((from, to), (link, Lane::default()));
    }

    /// Sends a datagram now.
    pub fn send(&mut self, from: NodeId, to: NodeId, bytes: Bytes) {
        if self.is_cut(from, to) {
            return;
        }
        let (link, lane) = self.links.entry((from, to)).or_insert_with(|| new_link(&self.default_link));
        let arrivals = lane.carry(link, &mut self.rng, self.now, bytes.len());
        if let Some(when) = arrivals.second {
            self.schedule(when, Happening::Datagram { from, to, bytes: bytes.clone() });
        }
        if let Some(when) = arrivals.first {
            self.schedule(when, Happening::Datagram { from, to, bytes });
        }
    }

    /// Adds an empty multicast group.
    pub fn group(&mut self) -> GroupId {
        self.groups.push(Vec::new());
        GroupId(self.groups.len() - 1)
    }

    /// Makes a node a member, reached over a link of its own.
    pub fn join(&mut self, group: GroupId, node: NodeId, link: Link) {
        self.groups[group.0].push(Member { node, link, lane: Lane::default() });
    }

    /// Ends a membership; what is already on its way still arrives.
    pub fn leave(&mut self, group: GroupId, node: NodeId) {
        self.groups[group.0].retain(|member| member.node != node);
    }

    /// Sends one datagram to every member but the sender; each loses, delays and duplicates on its own.
    pub fn multicast(&mut self, from: NodeId, group: GroupId, bytes: &Bytes) {
        let mut members = std::mem::take(&mut self.groups[group.0]);
        for Member { node, link, lane } in &mut members {
            if *node == from || self.is_cut(from, *node) {
                continue;
            }
            let arrivals = lane.carry(link, &mut self.rng, self.now, bytes.len());
            for when in [arrivals.first, arrivals.second].into_iter().flatten() {
                self.schedule(when, Happening::Datagram { from, to: *node, bytes: bytes.clone() });
            }
        }
        self.groups[group.0] = members;
    }

    /// Cuts two nodes off each other: datagrams are lost, also those on their way; streams wait.
    pub fn partition(&mut self, a: NodeId, b: NodeId) {
        self.deafen(a, b);
        self.deafen(b, a);
    }

    /// Makes `node` hear nothing of `other`, while `other` still hears `node` (half open).
    pub fn deafen(&mut self, node: NodeId, other: NodeId) {
        self.cuts.insert((other, node));
    }

    /// Ends [`Network::partition`] and [`Network::deafen`] between the two; streams go on after a retransmission.
    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        self.release_streams_between(a, b);
    }

    /// Goes to the next arrival; `None` when nothing is on its way.
    pub fn poll(&mut self) -> Option<(Instant, Delivery)> {
        while let Some(when) = self.poll_timeout() {
            let arrived = self.poll_until(when);
            if arrived.is_some() {
                return arrived;
            }
        }
        None
    }

    /// Goes to the next arrival no later than `deadline`, or to `deadline` when there is none.
    pub fn poll_until(&mut self, deadline: Instant) -> Option<(Instant, Delivery)> {
        while self.poll_timeout().is_some_and(|when| when <= deadline) {
            let Reverse(event) = self.events.pop()?;
            self.now = event.when;
            if let Some(delivery) = self.happen(event.happening) {
                return Some((self.now, delivery));
            }
        }
        self.now = self.now.max(deadline);
        None
    }

    /// When the next thing happens, delivered or not.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.events.peek().map(|Reverse(event)| event.when)
    }

    /// When this network began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }

    /// The link of one direction as configured, for what streams make of it.
    pub(super) fn link(&self, from: NodeId, to: NodeId) -> Link {
        self.links.get(&(from, to)).map_or_else(|| self.default_link.clone(), |(link, _)| link.clone())
    }

    pub(super) fn schedule(&mut self, when: Instant, happening: Happening) {
        self.serial += 1;
        self.events.push(Reverse(Event { when, serial: self.serial, happening }));
    }

    fn happen(&mut self, happening: Happening) -> Option<Delivery> {
        match happening {
            Happening::Datagram { from, to, .. } if self.is_cut(from, to) => None,
            Happening::Datagram { from, to, bytes } => Some(Delivery::Datagram { from, to, bytes }),
            Happening::Due { stream, from } => self.stream_due(stream, from),
            Happening::Release { stream, from } => {
                self.release_stream(stream, from);
                None
            }
            Happening::Reset { stream, from } => self.stream_reset(stream, from),
            Happening::Writable { stream, side } => self.stream_writable(stream, side),
        }
    }
}

impl NodeId {
    /// Nodes count from 0, so a test can keep its cores in a `Vec`.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// What is due at some instant.
#[derive(Debug)]
pub(super) enum Happening {
    Datagram {
        from: NodeId,
        to: NodeId,
        bytes: Bytes,
    },
    /// The oldest parcel of one direction of a stream arrives.
    Due {
        stream: StreamId,
        from: Side,
    },
    /// A stalled direction goes on.
    Release {
        stream: StreamId,
        from: Side,
    },
    /// A reset arrives.
    Reset {
        stream: StreamId,
        from: Side,
    },
    /// A writer learns that there is room again.
    Writable {
        stream: StreamId,
        side: Side,
    },
}

#[derive(Debug)]
struct Event {
    when: Instant,
    serial: u64,
    happening: Happening,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.when, self.serial).cmp(&(other.when, other.serial))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Event {}

fn new_link(link: &Link) -> (Link, Lane) {
    (link.clone(), Lane::default())
}
