//! A fingerprint of a history, for comparing two runs without keeping either.

use std::time::{Duration, Instant};

use super::network::Delivery;
use super::stream::StreamEvent;

/// FNV-1a over every delivery and its time since the start; equal histories, equal digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    state: u64,
}

impl Digest {
    /// The digest of no deliveries.
    #[must_use]
    pub fn new() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325 }
    }

    /// Takes in a delivery; `start` is the network's.
    pub fn record(&mut self, start: Instant, when: Instant, delivery: &Delivery) {
        self.record_time(when - start);
        match delivery {
            Delivery::Datagram { from, to, bytes } => {
                self.record_bytes(b"datagram");
                self.record_number(from.index());
                self.record_number(to.index());
                self.record_bytes(bytes);
            }
            Delivery::Stream { stream, side, event } => {
                self.record_number(stream.index());
                self.record_bytes(format!("{side:?}").as_bytes());
                self.record_event(event);
            }
        }
    }

    /// Takes in bytes of the test's own.
    pub fn record_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn record_event(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Data(bytes) => self.record_bytes(bytes),
            other => self.record_bytes(format!("{other:?}").as_bytes()),
        }
    }

    fn record_number(&mut self, number: usize) {
        self.record_bytes(&number.to_le_bytes());
    }

    fn record_time(&mut self, time: Duration) {
        self.record_bytes(&time.as_nanos().to_le_bytes());
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}
