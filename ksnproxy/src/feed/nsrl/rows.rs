//! The rows of a database, read by a thread of its own: SQLite takes as long to find them as it takes to keep them.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows};

use crate::feed::error::{FeedError, Reason};

/// The hashes of a file, each in its digits or missing; nobody has looked yet whether they are digits.
pub(super) struct Row {
    text: [u8; DIGITS],
    has: [bool; COLUMNS.len()],
}

type Batches = SyncSender<Result<Vec<Row>, FeedError>>;

/// Gives every row to `take`, with its number from 1 on.
pub(super) fn each(
    database: Connection,
    mut take: impl FnMut(u64, &Row) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    thread::scope(|scope| {
        let (sender, batches) = sync_channel(BATCHES);
        scope.spawn(move || read(&database, &sender));
        let mut number = 0;
        for batch in batches {
            for row in batch? {
                number += 1;
                take(number, &row)?;
            }
        }
        Ok(())
    })
}

impl Row {
    /// The hashes that are there.
    pub(super) fn hashes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.text[..];
        COLUMNS.into_iter().zip(self.has).filter_map(move |(digits, has)| {
            let (text, after) = rest.split_at(digits);
            rest = after;
            has.then_some(text)
        })
    }

    fn of(row: &rusqlite::Row<'_>, number: u64) -> Result<Self, FeedError> {
        let (mut read, mut begin) = (Self { text: [0; DIGITS], has: [false; COLUMNS.len()] }, 0);
        for (column, digits) in COLUMNS.into_iter().enumerate() {
            let text = match row.get_ref(column)? {
                ValueRef::Text(text) => text,
                ValueRef::Null => b"",
                _ => return Err(Reason::Hash((&b"a number"[..]).into()).at(number)),
            };
            if !text.is_empty() {
                let place = &mut read.text[begin..begin + digits];
                if text.len() != digits {
                    return Err(Reason::Hash(text.into()).at(number));
                }
                place.copy_from_slice(text);
                read.has[column] = true;
            }
            begin += digits;
        }
        Ok(read)
    }
}

/// Sends all rows, and the error that ends them behind those before it: what is wrong with those is told first. Whoever takes
/// no more of them has said why.
fn read(database: &Connection, batches: &Batches) {
    let mut batch = Vec::with_capacity(ROWS);
    let mut all = || -> Result<(), FeedError> {
        let mut statement = database.prepare("SELECT sha256, sha1, md5 FROM FILE")?;
        send(statement.query([])?, &mut batch, batches)
    };
    let read = all();
    let _ = batches.send(Ok(batch));
    if let Err(error) = read {
        let _ = batches.send(Err(error));
    }
}

fn send(mut rows: Rows<'_>, batch: &mut Vec<Row>, batches: &Batches) -> Result<(), FeedError> {
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        batch.push(Row::of(row, number)?);
        if batch.len() == ROWS {
            let full = std::mem::replace(batch, Vec::with_capacity(ROWS));
            if batches.send(Ok(full)).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Hexadecimal digits of each column: SHA-256, SHA-1, MD5.
const COLUMNS: [usize; 3] = [64, 40, 32];

const DIGITS: usize = COLUMNS[0] + COLUMNS[1] + COLUMNS[2];

/// Rows that are sent together: some tens of kilobytes.
const ROWS: usize = 512;

/// Batches that wait: enough for a pause of either side.
const BATCHES: usize = 16;
