//! A long line: delay, jitter, duplication and reordering between two real hosts.
//!
//! The kernel here has no netem. Each end is a TAP device; a thread of the test carries frames from one to the other
//! by the same [`Link`] the simulator uses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Result;

use super::Host;
use crate::sim::{Lane, Link, Rng};
use crate::system;

/// A line between two hosts; both ends are gone once it is dropped.
#[derive(Debug)]
pub struct Line {
    addresses: (Ipv4Addr, Ipv4Addr),
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Line {
    /// Makes a device with an address on each host and starts to carry between them.
    pub(super) fn start(ends: [(&Host, Ipv4Addr); 2], link: Link, seed: u64) -> Result<Self> {
        let [a, b] = ends.map(|(host, address)| tap(host, address));
        let (hung_up, stop) = io::pipe()?;
        let carrier = Carrier {
            taps: [a?, b?],
            lanes: [(); 2].map(|()| Lane::default()),
            link,
            rng: Rng::new(seed),
            flying: BinaryHeap::new(),
            serial: 0,
        };
        let thread = std::thread::spawn(move || carrier.run(&hung_up));
        let addresses = (ends[0].1, ends[1].1);
        Ok(Self { addresses, stop: Some(stop), thread: Some(thread) })
    }

    /// The addresses of the two ends, in the order the hosts were named.
    #[must_use]
    pub fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        self.addresses
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    taps: [File; 2],
    lanes: [Lane; 2],
    link: Link,
    rng: Rng,
    flying: BinaryHeap<Reverse<Frame>>,
    serial: u64,
}

/// A frame on its way; ordered by arrival, then by departure.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    when: Instant,
    serial: u64,
    to: usize,
    bytes: Vec<u8>,
}

impl Carrier {
    fn run(mut self, hung_up: &PipeReader) -> io::Result<()> {
        loop {
            let now = Instant::now();
            self.land(now);
            let next = self.flying.peek().map(|Reverse(frame)| frame.when.saturating_duration_since(now));
            let [a, b] = &self.taps;
            let [from_a, from_b, stop] =
                system::wait_readable([a.as_fd(), b.as_fd(), hung_up.as_fd()], next)?;
            if stop {
                return Ok(());
            }
            for (from, ready) in [from_a, from_b].into_iter().enumerate() {
                if ready {
                    self.take_off(from)?;
                }
            }
        }
    }

    /// Hands out every frame whose time has come.
    fn land(&mut self, now: Instant) {
        while self.flying.peek().is_some_and(|Reverse(frame)| frame.when <= now) {
            let Some(Reverse(frame)) = self.flying.pop() else { return };
            // A device that is down refuses the frame: lost, as on a cut cable.
            let _ = self.taps[frame.to].write(&frame.bytes);
        }
    }

    fn take_off(&mut self, from: usize) -> io::Result<()> {
        let mut buffer = [0; LARGEST_FRAME];
        let length = self.taps[from].read(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        let arrivals = self.lanes[from].carry(&self.link, &mut self.rng, Instant::now(), length);
        for when in [arrivals.first, arrivals.second].into_iter().flatten() {
            if self.flying.len() < FLYING_LIMIT {
                self.serial += 1;
                self.flying.push(Reverse(Frame {
                    when,
                    serial: self.serial,
                    to: 1 - from,
                    bytes: bytes.to_vec(),
                }));
            }
        }
        Ok(())
    }
}

/// A TAP device that lives on the host for as long as the file is open.
fn tap(host: &Host, address: Ipv4Addr) -> Result<File> {
    let device = host.namespace().next_device();
    let file = host.inside(|| system::tap(&device))??;
    host.ip(&format!("link set {device} up"))?;
    host.configure(&device, address)?;
    Ok(file)
}

/// 1500 bytes of MTU and an Ethernet header with a VLAN tag, with room to spare.
const LARGEST_FRAME: usize = 2048;
/// 50 MB; what does not fit is lost, as in any router.
const FLYING_LIMIT: usize = 32 * 1024;
