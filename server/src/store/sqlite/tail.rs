//! A watch on the log: notices say when to read, the log says what.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{history::History, job::Notice, log, readers::Readers};
use crate::store::{Batch, BoxFuture, Prefix, ReadError, Rev, WatchEnd, watch::Follow};

/// The place of one watch in the log.
///
/// No gap is possible: it listens before it first reads, so a commit that the read does not see comes as a
/// notice; and when notices are lost it reads the log again from its place.
#[derive(Debug)]
pub(super) struct Tail {
    prefix: Prefix,
    /// Every event up to here is delivered or in `ready`.
    after: Rev,
    ready: VecDeque<Batch>,
    /// The log may hold events that no notice will announce.
    behind: bool,
    notices: Option<broadcast::Receiver<Notice>>,
    readers: Weak<Readers>,
    ended: Option<WatchEnd>,
}

impl Tail {
    pub(super) fn new(
        prefix: Prefix,
        after: Rev,
        notices: Option<broadcast::Receiver<Notice>>,
        readers: &Arc<Readers>,
    ) -> Self {
        let readers = Arc::downgrade(readers);
        Self { prefix, after, ready: VecDeque::new(), behind: true, notices, readers, ended: None }
    }

    async fn advance(&mut self) -> Result<Batch, WatchEnd> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if let Some(end) = &self.ended {
                return Err(end.clone());
            }
            let step = if self.behind { self.catch_up().await } else { self.listen().await };
            self.ended = step.err();
        }
    }

    /// Reads the next stretch of the log. Nothing changes until it is read, so it may be cancelled.
    async fn catch_up(&mut self) -> Result<(), WatchEnd> {
        let lost = WatchEnd::Lost { after: self.after };
        let readers = self.readers.upgrade().ok_or(lost.clone())?;
        let (prefix, after) = (self.prefix.clone(), self.after);
        let stretch = readers.read(move |db| match History::read(db)?.oldest {
            oldest if after < oldest => Ok(Err(ReadError::Compacted { asked: after, oldest })),
            _ => log::stretch(db, &prefix, after).map(Ok),
        });
        let stretch = stretch.await.map_err(|error| match error {
            ReadError::Compacted { oldest, .. } => WatchEnd::Compacted { oldest },
            ReadError::Ahead { .. } | ReadError::Unavailable(_) => lost,
        })?;
        self.ready.extend(stretch.batches);
        self.after = self.after.max(stretch.upto);
        self.behind = stretch.upto < stretch.head;
        Ok(())
    }

    /// Waits for a notice of something under the prefix.
    async fn listen(&mut self) -> Result<(), WatchEnd> {
        let lost = WatchEnd::Lost { after: self.after };
        let notices = self.notices.as_mut().ok_or(lost.clone())?;
        match notices.recv().await {
            Ok(notice) if notice.rev <= self.after => {}
            Ok(notice) if notice.keys.iter().any(|key| self.prefix.contains(key)) => self.behind = true,
            Ok(notice) => self.after = notice.rev,
            Err(RecvError::Lagged(_)) => self.behind = true,
            Err(RecvError::Closed) => return Err(lost),
        }
        Ok(())
    }
}

impl Follow for Tail {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, WatchEnd>> {
        Box::pin(self.advance())
    }
}
