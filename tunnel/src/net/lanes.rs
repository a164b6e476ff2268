//! Lanes: threads that carry tunnels, each with a runtime of its own, usually one for each core.
//!
//! A runtime that moves tasks between its threads would poll a socket on one core and be told of its readiness on
//! another. A pair stays on one lane with both its sockets. Whoever has to be woken is woken by the same thread.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The lanes of a process. When the last clone is dropped they end, with everything that runs on them.
#[derive(Debug, Clone)]
pub struct Lanes(Arc<[Lane]>);

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    /// Pairs on it.
    pairs: AtomicUsize,
    /// Its thread ends when this is dropped; `None` for a runtime that is somebody else's.
    _end: Option<oneshot::Sender<()>>,
}

/// A pair's place on a lane, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    lanes: Lanes,
    index: usize,
}

impl Lanes {
    /// The current runtime as the only lane.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn current() -> Self {
        let lane = Lane { runtime: Handle::current(), pairs: AtomicUsize::new(0), _end: None };
        Self([lane].into())
    }

    /// Starts so many threads.
    ///
    /// # Errors
    /// When the system gives no thread or no reactor.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        Ok(Self((0..count.get()).map(Lane::start).collect::<io::Result<_>>()?))
    }

    /// One for each core this process may use.
    ///
    /// # Errors
    /// As [`Lanes::start`].
    pub fn per_core() -> io::Result<Self> {
        Self::start(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// The runtimes, one of each lane.
    pub fn runtimes(&self) -> impl ExactSizeIterator<Item = &Handle> + Clone {
        self.0.iter().map(|lane| &lane.runtime)
    }

    /// A place for a pair on the lane that has the fewest.
    pub(super) fn place(&self) -> Place {
        let load = |lane: &Lane| lane.pairs.load(Ordering::Relaxed);
        let index = (0..self.0.len()).min_by_key(|index| load(&self.0[*index])).unwrap_or(0);
        self.0[index].pairs.fetch_add(1, Ordering::Relaxed);
        Place { lanes: self.clone(), index }
    }
}

impl Lane {
    fn start(index: usize) -> io::Result<Self> {
        // The reactor is asked often: a turn of bulk may take a tenth of a millisecond, and others wait meanwhile.
        let runtime = Builder::new_current_thread().enable_all().event_interval(TURNS).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(format!("lane-{index}")).spawn(move || runtime.block_on(ended))?;
        Ok(Self { runtime: handle, pairs: AtomicUsize::new(0), _end: Some(end) })
    }
}

impl Place {
    /// Runs a pair's task there; the place is given back when the task drops it.
    pub(super) fn run<F>(self, task: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = self.lanes.0[self.index].runtime.clone();
        // Its outcome is told by the task itself.
        drop(runtime.spawn(task(self)));
    }

    /// Runs what a pair waits for there; the place is kept.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.lanes.0[self.index].runtime.spawn(task)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.0[self.index].pairs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Brings a socket to the runtime this is called on.
///
/// # Errors
/// When the reactor does not take it; the socket is closed then.
pub(super) fn settle(stream: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

/// Tasks polled before the reactor is asked again; the usual 61 would let keystrokes wait behind as many turns of bulk.
const TURNS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_go_where_the_fewest_are() {
        let lanes = Lanes::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let places = [lanes.place(), lanes.place(), lanes.place()];
        assert_eq!(places.each_ref().map(|place| place.index), [0, 1, 0]);
        drop(places);
        assert_eq!(lanes.place().index, 0);
    }

    #[test]
    fn a_lane_ends_with_its_last_handle_and_drops_what_runs_on_it() {
        let lanes = Lanes::start(NonZeroUsize::MIN).unwrap();
        let (held, dropped) = std::sync::mpsc::channel::<()>();
        let forever = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        lanes.place().run(|_| forever);
        drop(lanes);
        assert!(dropped.recv().is_err(), "the task was dropped");
    }
}
