//! Writing a commit: its rows in the log, where they lead from, and its receipt.

use rusqlite::Connection;

use super::{
    attached,
    known::Known,
    newest,
    receipt::Receipt,
    row::{Logged, first_seq},
};
use crate::store::{Commit, Op, Rev};

/// Writes a commit at the revision `rev`; `false`, and nothing written, when there is a receipt under its id already.
pub(super) fn append(
    db: &Connection,
    rev: Rev,
    commit: &Commit,
    known: &mut Known,
) -> rusqlite::Result<bool> {
    // First, for the index of ids says in passing whether this is a retry.
    if !(Receipt { rev, op_id: commit.op_id(), digest: *commit.digest() }).insert(db)? {
        return Ok(false);
    }
    for (seq, op) in (first_seq(rev)..).zip(commit.ops()) {
        append_row(db, rev, seq, op, known)?;
    }
    Ok(true)
}

fn append_row(db: &Connection, rev: Rev, seq: i64, op: &Op, known: &mut Known) -> rusqlite::Result<()> {
    let tip = known.tip(db, op.key())?;
    let live = tip.and_then(|tip| tip.live);
    if live.is_none() && op.value().is_none() {
        return Ok(());
    }
    let row = Logged {
        seq,
        key: op.key().clone(),
        create_rev: live.map_or(rev, |live| live.create_rev),
        value: op.value().cloned(),
        lease: op.lease(),
        prev: tip.map(|tip| tip.seq),
    };
    row.insert(db)?;
    newest::set(db, op.key(), seq)?;
    attached::moved(db, op.key(), live.and_then(|live| live.lease), op.lease())?;
    known.learn(row);
    Ok(())
}
