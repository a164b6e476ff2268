//! A group: the commits that wait together, judged in one transaction.

use std::{sync::mpsc, time::Instant};

use rusqlite::{Connection, ErrorCode};

use super::{
    append::append,
    attached,
    damage::Damage,
    history::History,
    job::{Errand, Job, Task, Verdict, Waiting},
    known::Known,
    leases::Leases,
    receipt::{self, Receipt},
    unavailable,
    window::Window,
};
use crate::store::{Commit, CommitError, FailedGuard, Limits, Rev, Unavailable};

/// Commits that share a transaction and its fsync.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) waiting: Vec<Waiting>,
}

/// What a transaction may look at besides the database.
pub(super) struct Borrowed<'a> {
    pub(super) window: &'a mut Window,
    pub(super) leases: &'a Leases,
    pub(super) known: &'a mut Known,
}

/// Why a whole transaction failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Before COMMIT was asked for, or with a full disk: certainly not applied.
    Refused(Unavailable),
    /// In COMMIT: the log may hold the transaction after a crash.
    Unknown(String),
}

impl Group {
    /// Takes what waits already, up to the bounds of a transaction, or up to an errand, which comes after it.
    pub(super) fn gather(first: Job, queue: &mpsc::Receiver<Job>) -> (Self, Option<Errand>) {
        let (mut group, mut bytes, mut next) = (Self::default(), 0, Some(first));
        while let Some(job) = next {
            match job.task {
                Task::Errand(errand) => return (group, Some(errand)),
                Task::Commit(waiting) => {
                    bytes += waiting.commit.length();
                    group.waiting.push(waiting);
                }
            }
            let full = group.waiting.len() >= GROUP_COMMITS || bytes >= GROUP_BYTES;
            next = if full { None } else { queue.try_recv().ok() };
        }
        (group, None)
    }

    /// Bytes of keys and values.
    pub(super) fn length(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.commit.length()).sum()
    }

    /// Judges each commit; on an error `verdicts` has those that were reached. Says whether there is something to sweep.
    pub(super) fn judge(
        &self,
        db: &Connection,
        with: &mut Borrowed<'_>,
        verdicts: &mut Vec<Verdict>,
    ) -> rusqlite::Result<bool> {
        let mut head = receipt::head(db)?;
        let now = Instant::now();
        with.window.mark(now, head);
        with.known.bound();
        for waiting in &self.waiting {
            verdicts.push(judge(db, &mut head, &waiting.commit, with)?);
        }
        match with.window.expired(now) {
            Some(expired) => {
                receipt::forget(db, expired)?;
                History::forget(db, expired)
            }
            None => Ok(false),
        }
    }

    /// Answers each; the caller may have stopped waiting: what is committed stays committed.
    pub(super) fn answer(self, verdicts: impl IntoIterator<Item = Verdict>) {
        for (waiting, verdict) in self.waiting.into_iter().zip(verdicts) {
            let _ = waiting.answer.send(verdict);
        }
    }

    /// Takes out and refuses what is larger than a full disk may be asked for.
    pub(super) fn refuse_large(&mut self) {
        let (small, large) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|one| one.commit.length() <= FULL_DISK_COMMIT);
        self.waiting = small;
        let refused = || Err(CommitError::Unavailable(Unavailable::DiskFull));
        Self { waiting: large }.answer(std::iter::repeat_with(refused));
    }
}

impl Failure {
    pub(super) fn before_commit(error: &rusqlite::Error) -> Self {
        Self::Refused(unavailable(error))
    }

    pub(super) fn in_commit(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // The record that ends the transaction was not written, or not asked for.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => Self::Refused(unavailable(error)),
            _ => Self::Unknown(error.to_string()),
        }
    }

    /// What to answer to a commit that had `reached` a verdict when the transaction failed.
    pub(super) fn verdict(&self, reached: Option<Verdict>) -> Verdict {
        match (self, reached) {
            (Self::Unknown(reason), Some(Ok(_))) => Err(CommitError::Unknown { reason: reason.clone() }),
            // Not applied either way, but judged by neighbours that may not have happened.
            _ => Err(CommitError::Unavailable(self.unavailable())),
        }
    }

    /// What to say of something that was not applied, or may be asked for again.
    pub(super) fn unavailable(&self) -> Unavailable {
        match self {
            Self::Refused(why) => why.clone(),
            Self::Unknown(reason) => Unavailable::Fault(reason.clone()),
        }
    }
}

/// Applies one commit, or says why not; writes nothing unless it applies.
fn judge(
    db: &Connection,
    head: &mut Rev,
    commit: &Commit,
    with: &mut Borrowed<'_>,
) -> rusqlite::Result<Verdict> {
    let refused = refused(db, commit, with)?;
    if refused.is_none() && append(db, head.next(), commit, with.known)? {
        *head = head.next();
        return Ok(Ok(*head));
    }
    // A retry is mostly refused by its guards, which no longer hold; what became of the first attempt is the answer.
    let Some(receipt) = Receipt::of(db, commit.op_id())? else {
        return Ok(Err(refused.ok_or(Damage::Receipt)?));
    };
    let same = receipt.digest == *commit.digest();
    Ok(if same { Ok(receipt.rev) } else { Err(CommitError::Reused(commit.op_id())) })
}

/// Why a commit cannot be applied now.
fn refused(
    db: &Connection,
    commit: &Commit,
    with: &mut Borrowed<'_>,
) -> rusqlite::Result<Option<CommitError>> {
    let failed = failed_guards(db, commit, with.known)?;
    if !failed.is_empty() {
        return Ok(Some(CommitError::Conflict(failed)));
    }
    attached::refused(db, commit, with.known, Limits::COMMON.ops, |lease| with.leases.is_alive(lease))
}

fn failed_guards(db: &Connection, commit: &Commit, known: &mut Known) -> rusqlite::Result<Vec<FailedGuard>> {
    let mut failed = Vec::new();
    for (guard, condition) in commit.guards().iter().enumerate() {
        let current = known.live(db, condition.key())?.map(|live| live.mod_rev);
        if !condition.holds(current) {
            failed.push(FailedGuard { guard, current });
        }
    }
    Ok(failed)
}

/// Commits in one transaction: enough to share an fsync, few enough to answer within milliseconds.
const GROUP_COMMITS: usize = 256;

/// Bytes after which a transaction takes no further commit.
const GROUP_BYTES: usize = 2 << 20;

/// Bytes of a commit that is still taken on a full disk: a revocation or a removal with its audit entry.
const FULL_DISK_COMMIT: usize = 4 << 10;
