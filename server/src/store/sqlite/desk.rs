//! What the writer thread owns, and what it does: commits, errands, and between them the ends of leases, sweeping, and
//! the way back from a full disk.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use super::{
    append::append,
    attached,
    checkpoint::Checkpointer,
    group::{Borrowed, Failure, Group},
    history::History,
    job::{Errand, Job, Notice, Verdict},
    known::Known,
    leases::{self, Leases},
    lock::Lock,
    receipt,
    reserve::Reserve,
    sweep,
    window::Window,
};
use crate::store::{
    Commit, Key, LeaseError, LeaseId, Limits, Op, OpId, ReadError, Rev, Unavailable, lease::LEASES_LIMIT,
};

/// Everything that only the writer may touch.
#[derive(Debug)]
pub(super) struct Desk {
    db: Connection,
    lock: Lock,
    reserve: Reserve,
    leases: Leases,
    window: Window,
    checkpointer: Checkpointer,
    known: Known,
    notices: broadcast::Sender<Notice>,
    /// Rows are left that nobody can read any more.
    sweeping: bool,
    /// A sync has failed: what the WAL holds on disk is not known until it is folded into the database.
    suspect: bool,
    failing: bool,
    /// Before this time what failed in passing is not tried again.
    retry: Option<Instant>,
}

impl Desk {
    /// Takes over an open database.
    pub(super) fn new(
        db: Connection,
        lock: Lock,
        reserve: Reserve,
        window: Window,
        checkpointer: Checkpointer,
        notices: broadcast::Sender<Notice>,
    ) -> rusqlite::Result<Self> {
        let leases = Leases::load(&db, Instant::now())?;
        let sweeping = History::read(&db)?.is_to_be_swept();
        Ok(Self {
            db,
            lock,
            reserve,
            leases,
            window,
            checkpointer,
            known: Known::default(),
            notices,
            sweeping,
            suspect: false,
            failing: false,
            retry: None,
        })
    }

    /// Works until every handle is gone and the queue is empty; then closes the database and lets go of it.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            match self.next(queue) {
                Ok(first) => {
                    let (group, errand) = Group::gather(first, queue);
                    self.settle(group);
                    errand.into_iter().for_each(|errand| self.run_errand(errand));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.keep_house();
        }
        let Self { db, lock, checkpointer, .. } = self;
        drop(checkpointer);
        // The last connection to close folds the WAL back.
        drop(db);
        lock.release();
    }

    /// Waits for a job, or for the time to do something unasked.
    fn next(&self, queue: &mpsc::Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        let now = Instant::now();
        let tick = (self.suspect || self.reserve.is_given_up()).then(|| now + RETRY);
        let sweep = self.sweeping.then_some(now);
        let wake = [self.leases.deadline(), tick, sweep].into_iter().flatten().min();
        match wake.map(|wake| self.retry.map_or(wake, |retry| wake.max(retry))) {
            Some(wake) => queue.recv_timeout(wake.saturating_duration_since(now)),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Commits a group and answers each of its jobs.
    fn settle(&mut self, mut group: Group) {
        if self.reserve.is_given_up() {
            group.refuse_large();
        }
        if group.waiting.is_empty() {
            return;
        }
        let mut verdicts = Vec::with_capacity(group.waiting.len());
        let judged = self.transact(|tx, with| group.judge(tx, with, &mut verdicts));
        match judged {
            Ok(sweeping) => {
                self.sweeping |= sweeping;
                self.announce(&group, &verdicts);
                self.checkpointer.note(group.length());
                group.answer(verdicts);
            }
            Err(failure) => {
                let reached = verdicts.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
                group.answer(reached.map(|reached| failure.verdict(reached)));
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        // Whoever asked may have stopped waiting.
        match errand {
            Errand::Grant(ttl, answer) => drop(answer.send(self.grant(ttl))),
            Errand::KeepAlive(lease, answer) => {
                let alive = self.leases.renew(lease, Instant::now());
                drop(answer.send(alive.then_some(()).ok_or(LeaseError::Gone(lease))));
            }
            Errand::Revoke(lease, answer) => drop(answer.send(match self.leases.is_alive(lease) {
                true => self.end_leases(&[lease]).map_err(|failure| failure.unavailable().into()),
                false => Err(LeaseError::Gone(lease)),
            })),
            Errand::Compact(oldest, answer) => drop(answer.send(self.compact(oldest))),
        }
    }

    /// What is done unasked, a little at a time.
    fn keep_house(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        self.retry = None;
        let over = self.leases.over(now);
        let ended = if over.is_empty() { Ok(()) } else { self.end_leases(&over) };
        let swept = if self.sweeping { self.sweep() } else { Ok(()) };
        if ended.is_err() || swept.is_err() {
            self.retry = Some(now + RETRY);
        }
        if self.reserve.is_given_up() && self.reserve.take_back() {
            tracing::info!("the disk has room again, the store takes everything again");
        }
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, LeaseError> {
        if self.leases.count() >= LEASES_LIMIT {
            return Err(LeaseError::TooMany);
        }
        let lease = LeaseId::random();
        let stored = self.transact(|tx, _| leases::store(tx, lease, ttl));
        stored.map_err(|failure| failure.unavailable())?;
        self.leases.insert(lease, ttl, Instant::now());
        Ok(lease)
    }

    /// Ends leases in one transaction, the keys of each in a commit of its own.
    fn end_leases(&mut self, ended: &[LeaseId]) -> Result<(), Failure> {
        let notices = self.transact(|tx, with| {
            let mut head = receipt::head(tx)?;
            let end = |lease: &LeaseId| end_lease(tx, *lease, &mut head, with.known).transpose();
            ended.iter().filter_map(end).collect()
        });
        let notices: Vec<Notice> = notices?;
        ended.iter().for_each(|lease| self.leases.forget(*lease));
        notices.into_iter().for_each(|notice| drop(self.notices.send(notice)));
        Ok(())
    }

    fn compact(&mut self, oldest: Rev) -> Result<(), ReadError> {
        let head = receipt::head(&self.db).map_err(|error| super::unavailable(&error))?;
        if oldest > head {
            return Err(ReadError::Ahead { asked: oldest, head });
        }
        let forgotten = self.transact(|tx, _| History::forget(tx, oldest));
        self.sweeping |= forgotten.map_err(|failure| failure.unavailable())?;
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), Failure> {
        self.sweeping = self.transact(|tx, _| sweep::sweep(tx))?;
        Ok(())
    }

    /// Runs `work` in one transaction that is durable when this returns.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Borrowed<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let done = self.attempt(work);
        match &done {
            Ok(_) => self.note_success(),
            Err(failure) => {
                self.known.forget();
                self.note_failure(failure);
            }
        }
        done
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Borrowed<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        if self.suspect {
            match fold(&self.db) {
                Ok(true) => self.suspect = false,
                Ok(false) => return Err(Failure::Refused(Unavailable::Fault("a sync has failed".into()))),
                Err(error) => return Err(Failure::before_commit(&error)),
            }
        }
        let mut borrowed =
            Borrowed { window: &mut self.window, leases: &self.leases, known: &mut self.known };
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(|error| Failure::before_commit(&error))?;
        let result = work(&tx, &mut borrowed).map_err(|error| Failure::before_commit(&error))?;
        let head = receipt::head(&tx).map_err(|error| Failure::before_commit(&error))?;
        tx.commit().map_err(|error| Failure::in_commit(&error))?;
        self.lock.note(head);
        Ok(result)
    }

    fn announce(&self, group: &Group, verdicts: &[Verdict]) {
        for (waiting, verdict) in group.waiting.iter().zip(verdicts) {
            if let Ok(rev) = verdict {
                // Nobody watching is fine; a retry repeats an old revision, which every watch has passed.
                let _ = self.notices.send(notice(*rev, &waiting.commit));
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
        match failure {
            Failure::Unknown(_) => self.suspect = true,
            Failure::Refused(Unavailable::DiskFull) => self.make_room(),
            Failure::Refused(_) => {}
        }
    }

    /// Gives up the reserve, with its help folds the WAL, whose end is free space then, and gives up all history: what has
    /// a value now is worth more.
    fn make_room(&mut self) {
        let given_up = self.reserve.give_up();
        if self.reserve.is_given_up()
            && let Err(error) = fold(&self.db)
        {
            tracing::debug!(%error, "the WAL cannot be folded on a full disk");
        }
        if !given_up {
            return;
        }
        tracing::warn!("the disk is full: the store gives up its history and takes only small commits");
        let head = receipt::head(&self.db).unwrap_or(Rev::ZERO);
        if let Err(error) = self.compact(head) {
            tracing::warn!(%error, "the store's history cannot be given up");
        }
    }
}

/// Deletes the keys of a lease and the lease itself; `None` when it has no keys.
fn end_lease(
    db: &Connection,
    lease: LeaseId,
    head: &mut Rev,
    known: &mut Known,
) -> rusqlite::Result<Option<Notice>> {
    let deletes: Vec<Op> = attached::keys(db, lease, known)?.into_iter().map(Op::delete).collect();
    leases::remove(db, lease)?;
    if deletes.is_empty() {
        return Ok(None);
    }
    let commit = Commit::admit(OpId::random(), Vec::new(), deletes, &Limits::COMMON)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    *head = head.next();
    append(db, *head, &commit, known)?;
    Ok(Some(notice(*head, &commit)))
}

fn notice(rev: Rev, commit: &Commit) -> Notice {
    Notice { rev, keys: commit.ops().iter().map(Op::key).cloned().collect::<Vec<Key>>().into() }
}

/// Folds the whole WAL into the database and cuts it off; `false` while readers are in the way. After a sync that failed
/// the system may take for written what never will be; what is folded is written, and synced, anew.
pub(super) fn fold(db: &Connection) -> rusqlite::Result<bool> {
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!busy)
}

/// Pause before what failed in passing is tried again.
const RETRY: Duration = Duration::from_millis(500);
