//! Records on their way into one file, and copies of them into another that is written at the same time.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::reader::SnapshotError;
use super::record::Record;
use super::sorter::Run;
use crate::subject::Kind;

/// Gives the records of a run, and sends a copy of each.
struct Copying {
    run: Run,
    batch: Vec<(Kind, Record)>,
    copies: Option<SyncSender<Vec<(Kind, Record)>>>,
}

/// The records of a run twice: as they are taken, and what was taken, for another thread. When that takes no more the first
/// ends with an error.
pub(super) fn copied(run: Run) -> (Run, impl Iterator<Item = Result<(Kind, Record), SnapshotError>>) {
    let (copies, copied): (_, Receiver<Vec<_>>) = sync_channel(BATCHES);
    let copying = Copying { run, batch: Vec::with_capacity(RECORDS), copies: Some(copies) };
    (Box::new(copying), copied.into_iter().flatten().map(Ok))
}

impl Copying {
    fn send(&mut self) -> Result<(), SnapshotError> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(RECORDS));
        let sent = self.copies.as_ref().map_or(Ok(()), |copies| copies.send(batch));
        sent.map_err(|_| SnapshotError::Io(io::Error::from(io::ErrorKind::BrokenPipe)))
    }
}

impl Iterator for Copying {
    type Item = Result<(Kind, Record), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.run.next() {
            Some(Ok(record)) => {
                self.batch.push(record);
                let sent = if self.batch.len() == RECORDS { self.send() } else { Ok(()) };
                Some(sent.map(|()| record))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                let sent = self.send();
                self.copies = None;
                sent.err().map(Err)
            }
        }
    }
}

/// Records that are sent together.
const RECORDS: usize = 1024;

/// Batches that wait: enough for a pause of either side.
const BATCHES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_twice_and_in_its_order() {
        for count in [0, 1, RECORDS - 1, RECORDS, 3 * RECORDS + 7] {
            let (run, copies) = copied(records(count));
            let copying = std::thread::spawn(move || numbers(run));
            assert_eq!(numbers(copies), (0..count as u128).collect::<Vec<_>>());
            assert_eq!(copying.join().unwrap().len(), count);
        }
    }

    #[test]
    fn whoever_takes_no_more_copies_ends_the_run_with_an_error() {
        let (mut run, copies) = copied(records(3 * RECORDS));
        drop(copies);
        assert!(run.any(|record| record.is_err()));
    }

    fn records(count: usize) -> Run {
        Box::new((0..count as u128).map(|bytes| Ok((Kind::ALL[0], Record { bytes, rest: 0 }))))
    }

    fn numbers(run: impl Iterator<Item = Result<(Kind, Record), SnapshotError>>) -> Vec<u128> {
        run.map(|record| record.unwrap().1.bytes).collect()
    }
}
