//! Everything under some prefixes at once, in batches, so that one thread takes in what another reads.

use tokio::sync::mpsc;

use super::{Entry, Key, Prefix, ReadError, Rev, Store};

/// Where batches go; whoever takes them in need not wait for the last.
pub type Batches = mpsc::Sender<Vec<(Key, Entry)>>;

/// Reads page by page, as any backend can.
pub(super) async fn by_pages<S: Store + ?Sized>(
    store: &S,
    prefixes: Vec<Prefix>,
    at: Rev,
    batches: Batches,
) -> Result<(), ReadError> {
    for prefix in prefixes {
        let mut after = None;
        loop {
            let page = store.scan(&prefix, after.as_ref(), PAGE, Some(at)).await?;
            if batches.send(page.entries).await.is_err() {
                return Ok(()); // nobody wants more
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Entries read at once.
const PAGE: u32 = 1000;
