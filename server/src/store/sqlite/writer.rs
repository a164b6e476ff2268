//! The way to the one writer: a bounded queue, and the thread behind it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::{Semaphore, broadcast, oneshot};

use super::{
    desk::Desk,
    job::{Errand, Job, Notice, Task, Verdict, Waiting},
};
use crate::store::{Commit, CommitError, Unavailable};

/// Hands jobs to the writer thread; dropping it waits until those are answered.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once it was stopped.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    notices: broadcast::WeakSender<Notice>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(desk: Desk, notices: broadcast::WeakSender<Notice>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || desk.run(&queue))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            places: Arc::new(Semaphore::new(QUEUE_JOBS)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            notices,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a commit and waits for its verdict.
    pub(super) async fn commit(&self, commit: Commit) -> Verdict {
        let bytes = u32::try_from(commit.length()).map_err(|_| Unavailable::QueueFull)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let room = room.map_err(|_| Unavailable::QueueFull)?;
        let (answer, verdict) = oneshot::channel();
        self.queue(Task::Commit(Waiting { commit, answer, _room: room }))?;
        verdict.await.unwrap_or_else(|_| Err(CommitError::Unknown { reason: "store writer died".into() }))
    }

    /// Queues an errand and waits for its answer.
    pub(super) async fn run<T, E: From<Unavailable>>(
        &self,
        errand: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Errand,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        self.queue(Task::Errand(errand(answer)))?;
        answered.await.unwrap_or_else(|_| Err(Unavailable::Closed.into()))
    }

    fn queue(&self, task: Task) -> Result<(), Unavailable> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Unavailable::QueueFull)?;
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = Job { task, _place: place };
        jobs.as_ref().ok_or(Unavailable::Closed)?.send(job).map_err(|_| Unavailable::Closed)
    }

    /// Takes no more jobs, and returns once those that wait are answered and the database is closed; blocks.
    pub(super) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
    }

    /// Jobs in the queue and under way.
    pub(super) fn waiting(&self) -> usize {
        QUEUE_JOBS - self.places.available_permits()
    }

    /// What is changed from now on; `None` once the writer is gone.
    pub(super) fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        Some(self.notices.upgrade()?.subscribe())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Jobs that may wait; beyond it callers get `QueueFull`.
const QUEUE_JOBS: usize = 4096;

/// Bytes of waiting commits, likewise.
const QUEUE_BYTES: usize = 32 << 20;
