//! Puts any number of records in order with a bounded amount of memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::reader::SnapshotError;
use super::record::{Claim, RECORD_LENGTH, Record};
use crate::subject::{Key, Kind};

/// Records in order, one source of many.
pub(super) type Run = Box<dyn Iterator<Item = Result<(Kind, Record), SnapshotError>>>;

/// Takes records in any order and gives them in theirs, one for each subject.
pub struct Sorter {
    /// By the number of the kind.
    buffers: [Vec<Record>; Kind::ALL.len() + 1],
    buffered: usize,
    capacity: usize,
    runs: Vec<File>,
    folder: PathBuf,
    /// How many records went to the disk.
    spilled: BTreeMap<Kind, u64>,
}

impl Sorter {
    /// A sorter that puts what does not fit into memory into nameless files of `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::with_capacity(folder, CAPACITY)
    }

    /// A sorter of at most so many records in memory.
    pub fn with_capacity(folder: impl Into<PathBuf>, capacity: usize) -> Self {
        let buffers = std::array::from_fn(|_| Vec::new());
        let (runs, spilled) = (Vec::new(), BTreeMap::new());
        Self { buffers, buffered: 0, capacity, runs, folder: folder.into(), spilled }
    }

    /// Takes a claim about a key.
    ///
    /// # Errors
    /// When memory is full and so is the disk.
    pub fn push(&mut self, key: Key, claim: Claim) -> io::Result<()> {
        if self.buffered >= self.capacity {
            self.spill()?;
        }
        self.buffers[key.kind as usize].push(Record::new(key, claim));
        self.buffered += 1;
        Ok(())
    }

    /// How many records were taken; of each kind at most so many come out.
    pub fn records(&self) -> BTreeMap<Kind, u64> {
        let mut records = self.spilled.clone();
        for kind in Kind::ALL {
            *records.entry(kind).or_default() += self.buffers[kind as usize].len() as u64;
        }
        records.retain(|_, records| *records > 0);
        records
    }

    /// All of them in order; of those about one subject the one to believe.
    ///
    /// # Errors
    /// When what was put on the disk cannot be read.
    pub fn finish(mut self) -> io::Result<impl Iterator<Item = Result<(Kind, Record), SnapshotError>>> {
        self.sort();
        let mut runs: Vec<Run> = Vec::new();
        for mut run in self.runs {
            run.seek(SeekFrom::Start(0))?;
            runs.push(Box::new(read_run(BufReader::with_capacity(BLOCK, run))));
        }
        let buffers =
            self.buffers.into_iter().enumerate().filter_map(|(number, buffer)| {
                Some((Kind::from_number(u8::try_from(number).ok()?)?, buffer))
            });
        runs.push(Box::new(
            buffers.flat_map(|(kind, buffer)| buffer.into_iter().map(move |record| Ok((kind, record)))),
        ));
        Ok(merge(runs))
    }

    fn sort(&mut self) {
        self.buffers.iter_mut().for_each(|buffer| buffer.sort_unstable());
    }

    /// Writes what is in memory to a file that has no name, and so is gone with the process.
    fn spill(&mut self) -> io::Result<()> {
        self.spilled = self.records();
        self.sort();
        let mut file = BufWriter::with_capacity(BLOCK, tempfile::tempfile_in(&self.folder)?);
        for kind in Kind::ALL {
            for record in self.buffers[kind as usize].drain(..) {
                file.write_all(&[kind as u8])?;
                file.write_all(&record.encode())?;
            }
        }
        self.runs.push(file.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.buffered = 0;
        Ok(())
    }
}

/// Merges runs; of records about one subject the one to believe is left.
pub(super) fn merge(runs: Vec<Run>) -> impl Iterator<Item = Result<(Kind, Record), SnapshotError>> {
    let mut ordered = Ordered::new(runs);
    let mut waiting: Option<(Kind, Record)> = None;
    std::iter::from_fn(move || {
        loop {
            let next = match ordered.next() {
                Some(Ok(next)) => next,
                Some(Err(error)) => return Some(Err(error)),
                None => return waiting.take().map(Ok),
            };
            match &mut waiting {
                Some(held) if held.0 == next.0 && held.1.subject() == next.1.subject() => {
                    if next.1.outweighs(&held.1) {
                        held.1 = next.1;
                    }
                }
                Some(held) => return Some(Ok(std::mem::replace(held, next))),
                None => waiting = Some(next),
            }
        }
    })
}

/// The records of several runs in one order.
struct Ordered {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(Kind, Record, usize)>>,
    failed: Option<SnapshotError>,
}

impl Ordered {
    fn new(runs: Vec<Run>) -> Self {
        let mut ordered = Self { heads: BinaryHeap::with_capacity(runs.len()), runs, failed: None };
        (0..ordered.runs.len()).for_each(|run| ordered.advance(run));
        ordered
    }

    fn next(&mut self) -> Option<Result<(Kind, Record), SnapshotError>> {
        if let [run] = &mut self.runs[..] {
            if let Some(Reverse((kind, record, _))) = self.heads.pop() {
                return Some(Ok((kind, record)));
            }
            return self.failed.take().map(Err).or_else(|| run.next());
        }
        if let Some(error) = self.failed.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let Reverse((kind, record, run)) = self.heads.pop()?;
        self.advance(run);
        Some(Ok((kind, record)))
    }

    fn advance(&mut self, run: usize) {
        match self.runs[run].next() {
            Some(Ok((kind, record))) => self.heads.push(Reverse((kind, record, run))),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

/// Each record after the number of its kind, until the file ends.
fn read_run(mut run: impl Read) -> impl Iterator<Item = Result<(Kind, Record), SnapshotError>> {
    std::iter::from_fn(move || {
        let mut entry = [0; 1 + RECORD_LENGTH];
        match run.read_exact(&mut entry) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(error) => return Some(Err(error.into())),
            Ok(()) => {}
        }
        let [kind, record @ ..] = entry;
        Some(
            Kind::from_number(kind).map(|kind| (kind, Record::decode(&record))).ok_or(SnapshotError::Framing),
        )
    })
}

/// Records in memory: 128 MiB.
const CAPACITY: usize = 4 * 1024 * 1024;

/// What is read from or written to a file at once.
const BLOCK: usize = 256 * 1024;
