//! What is asked of the writer, and what it answers.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::{Commit, CommitError, Key, LeaseError, LeaseId, ReadError, Rev};

/// Something for the writer to do, and its place in the queue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) enum Task {
    Commit(Waiting),
    Errand(Errand),
}

/// A commit whose caller waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) commit: Commit,
    pub(super) answer: oneshot::Sender<Verdict>,
    /// For its bytes in the queue.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What is not a commit of somebody's.
#[derive(Debug)]
pub(super) enum Errand {
    Grant(Duration, oneshot::Sender<Result<LeaseId, LeaseError>>),
    KeepAlive(LeaseId, oneshot::Sender<Result<(), LeaseError>>),
    Revoke(LeaseId, oneshot::Sender<Result<(), LeaseError>>),
    Compact(Rev, oneshot::Sender<Result<(), ReadError>>),
}

pub(super) type Verdict = Result<Rev, CommitError>;

/// Says what a commit changed, so that a watch knows when to read the log.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) rev: Rev,
    pub(super) keys: Arc<[Key]>,
}
