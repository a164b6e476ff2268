//! The one writer: a thread that takes the commits that wait and puts them into one transaction.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use super::{lock::Lock, log, unavailable, window::Window};
use crate::store::{Commit, CommitError, FailedGuard, Key, Op, Rev, Unavailable};

/// Hands commits to the writer thread; dropping it waits until those are answered.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once it was stopped.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    room: Arc<Semaphore>,
    notices: broadcast::WeakSender<Notice>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Says what a commit changed, so that a watch knows when to read the log.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) rev: Rev,
    pub(super) keys: Arc<[Key]>,
}

#[derive(Debug)]
struct Job {
    commit: Commit,
    answer: oneshot::Sender<Verdict>,
    _room: OwnedSemaphorePermit,
}

/// What the thread owns.
#[derive(Debug)]
struct Desk {
    db: Connection,
    window: Window,
    notices: broadcast::Sender<Notice>,
    failing: bool,
}

/// Why a whole transaction failed.
#[derive(Debug)]
enum Failure {
    /// Before COMMIT was asked for, or with a full disk: certainly not applied.
    Refused(Unavailable),
    /// In COMMIT: the log may hold the transaction after a crash.
    Unknown(String),
}

type Verdict = Result<Rev, CommitError>;

impl Writer {
    /// Starts the thread, which keeps `lock` until the database is closed.
    pub(super) fn start(db: Connection, lock: Lock) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_COMMITS);
        let (notices, _) = broadcast::channel(NOTICES);
        let weak = notices.downgrade();
        let desk = Desk { db, window: Window::default(), notices, failing: false };
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || {
            desk.run(queue);
            lock.release();
        })?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Self { jobs, room, notices: weak, thread })
    }

    /// Queues a commit and waits for its verdict.
    pub(super) async fn commit(&self, commit: Commit) -> Verdict {
        let bytes = u32::try_from(commit.length()).map_err(|_| Unavailable::QueueFull)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let room = room.map_err(|_| Unavailable::QueueFull)?;
        let (answer, verdict) = oneshot::channel();
        self.queue(Job { commit, answer, _room: room })?;
        verdict.await.unwrap_or_else(|_| Err(CommitError::Unknown { reason: "store writer died".into() }))
    }

    fn queue(&self, job: Job) -> Result<(), Unavailable> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(Unavailable::Closed)?.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Closed,
        })
    }

    /// Takes no more commits, and returns once those that wait are answered and the database is closed; blocks.
    pub(super) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
    }

    /// Commits in the queue.
    pub(super) fn waiting(&self) -> usize {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
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

impl Desk {
    /// Works until every handle is gone and the queue is empty.
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let group = gather(first, &mut queue);
            self.settle(group);
        }
    }

    /// Commits a group and answers each of its jobs.
    fn settle(&mut self, group: Vec<Job>) {
        match self.transact(&group) {
            Ok(verdicts) => {
                self.note_success();
                self.announce(&group, &verdicts);
                answer(group, verdicts);
            }
            Err((failure, verdicts)) => {
                self.note_failure(&failure);
                let verdicts = verdicts.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
                let verdicts: Vec<_> =
                    group.iter().zip(verdicts).map(|(_, verdict)| failure.verdict(verdict)).collect();
                answer(group, verdicts);
            }
        }
    }

    /// Judges each commit in one transaction; on failure gives back the verdicts it had reached.
    fn transact(&mut self, group: &[Job]) -> Result<Vec<Verdict>, (Failure, Vec<Verdict>)> {
        let refused = |error| Failure::Refused(unavailable(&error));
        let mut verdicts = Vec::with_capacity(group.len());
        let tx = match self.db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => return Err((refused(error), verdicts)),
        };
        if let Err(error) = judge_all(&tx, &mut self.window, group, &mut verdicts) {
            return Err((refused(error), verdicts));
        }
        match tx.commit() {
            Ok(()) => Ok(verdicts),
            Err(error) => Err((Failure::in_commit(&error), verdicts)),
        }
    }

    fn announce(&self, group: &[Job], verdicts: &[Verdict]) {
        for (job, verdict) in group.iter().zip(verdicts) {
            if let Ok(rev) = verdict {
                let keys = job.commit.ops().iter().map(Op::key).cloned().collect();
                // Nobody watching is fine; a retry repeats an old revision, which every watch has passed.
                let _ = self.notices.send(Notice { rev: *rev, keys });
            }
        }
    }

    fn note_success(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("store writes again");
        }
    }

    fn note_failure(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(?failure, "store cannot write");
        }
    }
}

impl Failure {
    fn in_commit(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // The record that ends the transaction was not written, or not asked for.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => Self::Refused(unavailable(error)),
            _ => Self::Unknown(error.to_string()),
        }
    }

    /// What to answer to a job that had `reached` a verdict when the transaction failed.
    fn verdict(&self, reached: Option<Verdict>) -> Verdict {
        Err(match (self, reached) {
            (Self::Unknown(reason), Some(Ok(_))) => CommitError::Unknown { reason: reason.clone() },
            (Self::Refused(why), _) => CommitError::Unavailable(why.clone()),
            // Not applied either way, but judged by neighbours that may not have happened.
            (Self::Unknown(reason), _) => CommitError::Unavailable(Unavailable::Fault(reason.clone())),
        })
    }
}

/// Takes what waits already, up to the bounds of a transaction.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.commit.length();
    let mut group = vec![first];
    while group.len() < GROUP_COMMITS
        && bytes < GROUP_BYTES
        && let Ok(job) = queue.try_recv()
    {
        bytes += job.commit.length();
        group.push(job);
    }
    group
}

fn judge_all(
    db: &Connection,
    window: &mut Window,
    group: &[Job],
    verdicts: &mut Vec<Verdict>,
) -> rusqlite::Result<()> {
    let mut head = log::head(db)?;
    let now = Instant::now();
    window.mark(now, head);
    for job in group {
        verdicts.push(judge(db, &mut head, &job.commit)?);
    }
    if let Some(expired) = window.expired(now) {
        log::forget(db, expired)?;
    }
    Ok(())
}

/// Applies one commit, or says why not; writes nothing unless it applies.
fn judge(db: &Connection, head: &mut Rev, commit: &Commit) -> rusqlite::Result<Verdict> {
    if let Some(receipt) = log::receipt(db, commit.op_id())? {
        let same = receipt.digest == *commit.digest();
        return Ok(if same { Ok(receipt.rev) } else { Err(CommitError::Reused(commit.op_id())) });
    }
    let failed = failed_guards(db, commit)?;
    if !failed.is_empty() {
        return Ok(Err(CommitError::Conflict(failed)));
    }
    *head = head.next();
    log::append(db, *head, commit)?;
    Ok(Ok(*head))
}

fn failed_guards(db: &Connection, commit: &Commit) -> rusqlite::Result<Vec<FailedGuard>> {
    let mut failed = Vec::new();
    for (guard, condition) in commit.guards().iter().enumerate() {
        let current = log::live(db, condition.key())?.map(|live| live.mod_rev);
        if !condition.holds(current) {
            failed.push(FailedGuard { guard, current });
        }
    }
    Ok(failed)
}

fn answer(group: Vec<Job>, verdicts: Vec<Verdict>) {
    for (job, verdict) in group.into_iter().zip(verdicts) {
        // The caller may have stopped waiting; what is committed stays committed.
        let _ = job.answer.send(verdict);
    }
}

/// Commits that may wait; beyond it callers get `QueueFull`.
const QUEUE_COMMITS: usize = 4096;

/// Bytes of waiting commits, likewise.
const QUEUE_BYTES: usize = 32 << 20;

/// Commits in one transaction: enough to share an fsync, few enough to answer within milliseconds.
const GROUP_COMMITS: usize = 256;

/// Bytes after which a transaction takes no further commit.
const GROUP_BYTES: usize = 2 << 20;

/// Notices a watch may fall behind before it reads the log instead.
const NOTICES: usize = 1024;
