//! Bulk: generators that write as fast as they may, sinks that take everything off.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;
use rustix::net::RecvFlags;

use super::product::Pair;
use crate::bench::place::bind;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the operator to the device.
    Up,
    /// From the device to the operator.
    Down,
}

/// Bytes flowing through as many connections as were given; they end when this is dropped.
pub(super) struct Load {
    sockets: Vec<Arc<TcpStream>>,
    threads: Vec<JoinHandle<()>>,
    moved: Arc<AtomicU64>,
}

impl Load {
    /// Starts a generator and a sink for each pair, all of them on `core`, if it is given.
    pub(super) fn start(pairs: Vec<Pair>, direction: Direction, core: Option<usize>) -> Self {
        let moved = Arc::new(AtomicU64::new(0));
        let (mut sockets, mut threads) = (Vec::new(), Vec::new());
        for pair in pairs {
            let (near, far) = (Arc::new(pair.near), Arc::new(pair.far));
            let (from, to) = match direction {
                Direction::Up => (Arc::clone(&near), Arc::clone(&far)),
                Direction::Down => (Arc::clone(&far), Arc::clone(&near)),
            };
            let moved = Arc::clone(&moved);
            threads.push(on(core, move || generate(&from)));
            threads.push(on(core, move || swallow(&to, &moved)));
            sockets.extend([near, far]);
        }
        Self { sockets, threads, moved }
    }

    /// Bytes that have arrived.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // One that has ended by itself is ended.
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn on(core: Option<usize>, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let bound: Result<()> = core.map_or(Ok(()), bind);
        if let Err(error) = bound {
            eprintln!("{error:#}");
        }
        work();
    })
}

fn generate(mut stream: &TcpStream) {
    let chunk = vec![0x5a; CHUNK];
    while stream.write_all(&chunk).is_ok() {}
}

/// Takes bytes off without copying them (`MSG_TRUNC`, tcp(7)): the machine's time is for what is measured.
fn swallow(stream: &TcpStream, moved: &AtomicU64) {
    let mut unused = vec![0; CHUNK];
    while let Ok((_, taken @ 1..)) = rustix::net::recv(stream, &mut unused[..], RecvFlags::TRUNC) {
        moved.fetch_add(u64::try_from(taken).unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Bytes of one call.
const CHUNK: usize = 1 << 20;
