//! Export and import: what a store holds at one revision, as a file that any other backend takes in.
//!
//! ```text
//! file    = "klnet export 1\n" header entry* end
//! frame   = length:u32 kind:u8 payload            length of the payload, big-endian like every number
//! header  = 'H' incarnation:16 at:u64             which history, and the revision of the snapshot
//! entry   = 'E' mod_rev:u64 length:u16 key value  in the order of mod_rev; length is the key's
//! end     = 'Z' entries:u64 sha256:32             over every byte of the file before this frame
//! ```
//! A file is good only as a whole: what is not in order, too long, cut off, changed or followed by anything is refused,
//! and whoever imports makes a store of it only once its end was read. Importing commits again what is left of each
//! commit, so that keys last changed one after the other are so again; revisions count from 1, in a new incarnation.
//! Keys under a lease are left out: their holders live in the old incarnation. So are the outcomes of operations.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{Read, Write},
    task::Poll,
};

pub use self::{
    decode::{Decoder, ImportError},
    encode::Encoder,
};
use super::{BoxFuture, CommitError, Incarnation, Key, Op, OpId, ReadError, Rev, Store};

/// What an export begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose history it is.
    pub incarnation: Incarnation,
    /// The revision at which everything was read.
    pub at: Rev,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The commit that last changed it.
    pub mod_rev: Rev,
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: bytes::Bytes,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Writes everything of a store at its newest revision, and says how many entries that were.
///
/// # Errors
/// [`ExportError`]; what was written until then is no export.
pub async fn export(store: &dyn Store, output: impl Write) -> Result<u64, ExportError> {
    let mut page = store.survivors(Rev::ZERO, None).await?;
    let at = page.at;
    let mut encoder = Encoder::new(output, Header { incarnation: store.incarnation(), at })?;
    loop {
        page.batches.iter().try_for_each(|batch| encoder.batch(batch))?;
        let Some(after) = page.next else { break };
        page = store.survivors(after, Some(at)).await?;
    }
    Ok(encoder.finish()?)
}

/// Commits everything of an export to an empty store, and says how many entries that were.
///
/// # Errors
/// [`ImportError`]; the store then holds a part, and is to be thrown away.
pub async fn import(input: impl Read, store: &dyn Store) -> Result<u64, ImportError> {
    let (mut decoder, mut imported) = (Decoder::new(input)?, 0);
    let mut under_way = VecDeque::new();
    let mut next = decoder.next()?;
    while let Some(first) = next {
        let rev = first.mod_rev;
        let mut ops = vec![Op::put(first.key, first.value)];
        next = decoder.next()?;
        while let Some(same) = next.take_if(|entry| entry.mod_rev == rev) {
            ops.push(Op::put(same.key, same.value));
            next = decoder.next()?;
        }
        imported += ops.len() as u64;
        under_way.push_back(begin(store.commit(OpId::random(), Vec::new(), ops)).await);
        if under_way.len() > AT_ONCE {
            settle(&mut under_way).await?;
        }
    }
    while !under_way.is_empty() {
        settle(&mut under_way).await?;
    }
    Ok(imported)
}

type Committing<'a> = BoxFuture<'a, Result<Rev, CommitError>>;

/// Polls a commit once, which puts it into the queue behind the ones before it.
async fn begin(mut commit: Committing<'_>) -> Committing<'_> {
    let early = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await;
    match early {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => commit,
    }
}

async fn settle(under_way: &mut VecDeque<Committing<'_>>) -> Result<(), ImportError> {
    match under_way.pop_front() {
        Some(commit) => Ok(commit.await.map(drop)?),
        None => Ok(()),
    }
}

/// Commits that wait at once while importing, so that they share a transaction.
const AT_ONCE: usize = 32;

const MAGIC: &[u8] = b"klnet export 1\n";

const HEADER: u8 = b'H';
const ENTRY: u8 = b'E';
const END: u8 = b'Z';
