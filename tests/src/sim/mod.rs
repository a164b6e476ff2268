//! A seeded network in virtual time: no socket, no clock, no thread.
//!
//! ```
//! use bytes::Bytes;
//! use klnet_tests::sim::{Delivery, Link, Network};
//! use std::time::Duration;
//!
//! let mut network = Network::new(7);
//! let (a, b) = (network.node(), network.node());
//! network.connect(a, b, Link { latency: Duration::from_millis(20), ..Link::default() });
//! network.send(a, b, Bytes::from_static(b"hello"));
//! let (when, delivery) = network.poll().expect("nothing is lost on this link");
//! assert_eq!(when - network.start(), Duration::from_millis(20));
//! assert_eq!(delivery, Delivery::Datagram { from: a, to: b, bytes: Bytes::from_static(b"hello") });
//! ```
//!
//! A test owns one [`Network`] and its protocol cores. It hands what a core wants to send to the network, asks with
//! [`Network::poll_until`] for what arrives before the earliest deadline of the cores, and hands that back in. Time is
//! the network's: it jumps from event to event, so an hour of heartbeats takes milliseconds.
//!
//! | part | like |
//! |---|---|
//! | [`Network::send`] | UDP: latency, jitter, burst loss, duplication, reordering, rate, tail drop, partition |
//! | [`Network::multicast`] | one UDP send to a group; every member loses on its own |
//! | [`Network::open`] | TCP: reliable and in order, cut anywhere; latency, window, stall, half close, reset |

mod digest;
mod link;
mod network;
mod rng;
mod stream;

pub use digest::Digest;
pub(crate) use link::Lane;
pub use link::{Burst, Link};
pub use network::{Delivery, GroupId, Network, NodeId};
pub use rng::Rng;
pub use stream::{Side, StreamEvent, StreamId};

#[cfg(test)]
mod tests;
