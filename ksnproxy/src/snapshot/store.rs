//! A folder of what each source says and of the snapshot made of them all.
//!
//! ```text
//! lock       held while something is changed
//! sources/NAME   a snapshot of one source
//! lists/NAME     what partial updates of that source build on
//! current    the snapshot that is answered from
//! previous   the one before, answered from when `current` is damaged
//! .new-*     not finished: of no meaning, removed by whoever changes something next
//! ```
//! Every file is written beside its place, synced and renamed, so at any moment, after any crash and on a full disk,
//! each name means a whole file or nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use tempfile::NamedTempFile;

use super::lookup::Snapshot;
use super::manifest::{Manifest, SOURCES_MOST, Source};
use super::reader::{Reader, SnapshotError};
use super::record::Record;
use super::sorter::{Run, Sorter, merge};
use super::writer::Writer;
use crate::subject::Kind;

/// A folder of sources and their snapshot.
pub struct SnapshotStore {
    folder: PathBuf,
}

/// A change of a store that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be written, moved or locked.
    #[error("cannot change {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        error: io::Error,
    },
    /// A file of the store cannot be used.
    #[error("{path}: {error}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: SnapshotError,
    },
    /// A name that would be no file of the store.
    #[error(
        "{0:?} is no name of a source: letters, digits, '-', '_' and '.' within, at most {NAME_MOST} of them"
    )]
    Name(String),
    /// There is no such source.
    #[error("there is no source {0:?}")]
    NoSource(String),
    /// There are as many sources as can be told apart.
    #[error("there are {SOURCES_MOST} sources, which is the limit")]
    TooManySources,
}

impl SnapshotStore {
    /// Opens a store, and makes its folders when there are none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        let sources = folder.join(SOURCES);
        fs::create_dir_all(&sources).map_err(|error| StoreError::Io { path: sources, error })?;
        Ok(Self { folder })
    }

    /// A sorter that keeps what does not fit into memory in this folder.
    pub fn sorter(&self) -> Sorter {
        Sorter::new(&self.folder)
    }

    /// Puts what a source says now in the place of what it said before, and makes a snapshot of all sources. On any error
    /// both are as they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import(&self, source: Source, records: Sorter, key: &SigningKey) -> Result<Manifest, StoreError> {
        let _lock = self.lock()?;
        let path = self.source_path(&source.name)?;
        let (name, now) = (source.name.clone(), source.imported);
        let expected = records.records();
        let records = records.finish().map_err(|error| self.failed(error))?;
        let about = Manifest::about(0, now, vec![source]);
        let new = self.write(records, expected, about, key)?;
        let mut sources = self.sources(key.public())?;
        sources.insert(name, new.path().to_owned());
        let (snapshot, manifest) = self.combine(&sources, now, key)?;
        persist(new, &path)?;
        self.replace_current(snapshot, key.public())?;
        Ok(manifest)
    }

    /// Forgets a source, and makes a snapshot of the others.
    ///
    /// # Errors
    /// [`StoreError`]; then the source is still there.
    pub fn remove(&self, name: &str, now: u64, key: &SigningKey) -> Result<Manifest, StoreError> {
        let _lock = self.lock()?;
        let path = self.source_path(name)?;
        let mut sources = self.sources(key.public())?;
        sources.remove(name).ok_or_else(|| StoreError::NoSource(name.to_owned()))?;
        let (snapshot, manifest) = self.combine(&sources, now, key)?;
        fs::remove_file(&path).map_err(|error| StoreError::Io { path, error })?;
        let lists = self.folder.join(LISTS).join(name);
        absent(fs::remove_file(&lists)).map_err(|error| StoreError::Io { path: lists, error })?;
        self.replace_current(snapshot, key.public())?;
        Ok(manifest)
    }

    /// What [`Self::keep_lists`] kept of a source; `None` when there is nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lists(&self, source: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.folder.join(LISTS).join(checked(source)?);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Io { path, error }),
        }
    }

    /// Keeps what partial updates of a source build on. It is kept after the import: when a crash comes between, what is here
    /// is older than the snapshot, and an update of it leads to the same lists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_lists(&self, source: &str, lists: &[u8]) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let folder = self.folder.join(LISTS);
        fs::create_dir_all(&folder).map_err(|error| StoreError::Io { path: folder.clone(), error })?;
        let new = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder);
        let mut new = new.map_err(|error| self.failed(error))?;
        let written = new.write_all(lists).and_then(|()| new.as_file().sync_data());
        written.map_err(|error| self.failed(error))?;
        persist(new, &folder.join(checked(source)?))
    }

    /// Makes the snapshot again of what all sources said last, signed by `key`: after a change of keys, `trusted` are the
    /// old ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sign(&self, now: u64, trusted: &[PublicKey], key: &SigningKey) -> Result<Manifest, StoreError> {
        let _lock = self.lock()?;
        for path in self.source_files()? {
            let reader = open(&path, trusted)?;
            let (about, expected) = (reader.manifest().clone(), reader.manifest().records());
            let new = self.write(reader.records(), expected, about, key)?;
            persist(new, &path)?;
        }
        let sources = self.sources(key.public())?;
        let (snapshot, manifest) = self.combine(&sources, now, key)?;
        self.replace_current(snapshot, key.public())?;
        Ok(manifest)
    }

    /// Loads the current snapshot. When it is damaged the previous one is loaded, and what is wrong is told as well.
    ///
    /// # Errors
    /// [`StoreError`] when neither can be used.
    pub fn load(&self, trusted: &[PublicKey]) -> Result<(Snapshot, Option<StoreError>), StoreError> {
        match self.load_current(trusted) {
            Ok(snapshot) => Ok((snapshot, None)),
            Err(error) => match load(&self.folder.join(PREVIOUS), trusted) {
                Ok(snapshot) => Ok((snapshot, Some(error))),
                Err(_) => Err(error),
            },
        }
    }

    pub(super) fn load_current(&self, trusted: &[PublicKey]) -> Result<Snapshot, StoreError> {
        load(&self.current(), trusted)
    }

    /// Where the snapshot is that is answered from.
    pub fn current(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// Every source there is and its file.
    fn sources(&self, trusted: &PublicKey) -> Result<BTreeMap<String, PathBuf>, StoreError> {
        let mut sources = BTreeMap::new();
        for path in self.source_files()? {
            let reader = open(&path, std::slice::from_ref(trusted))?;
            let name = reader.manifest().source(1).unwrap_or_default().to_owned();
            sources.insert(name, path);
        }
        Ok(sources)
    }

    fn source_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.folder.join(SOURCES);
        let listed =
            fs::read_dir(&folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        listed.map_err(|error| StoreError::Io { path: folder, error })
    }

    /// Merges all sources into a file that is not yet in its place. Sources are numbered in the order of their names.
    fn combine(
        &self,
        sources: &BTreeMap<String, PathBuf>,
        now: u64,
        key: &SigningKey,
    ) -> Result<(NamedTempFile, Manifest), StoreError> {
        let trusted = std::slice::from_ref(key.public());
        let (mut runs, mut about): (Vec<Run>, _) = (Vec::new(), Vec::new());
        let mut expected: BTreeMap<Kind, u64> = BTreeMap::new();
        for (number, path) in (1..).zip(sources.values()) {
            let number = u16::try_from(number).map_err(|_| StoreError::TooManySources)?;
            let reader = open(path, trusted)?;
            about.extend(reader.manifest().sources.first().cloned());
            for (kind, records) in reader.manifest().records() {
                *expected.entry(kind).or_default() += records;
            }
            let numbered = move |(kind, record): (Kind, Record)| (kind, record.said_by(number));
            runs.push(Box::new(reader.records().map(move |record| record.map(numbered))));
        }
        let about = Manifest::about(self.next_sequence(trusted), now, about);
        let new = self.write(merge(runs), expected, about, key)?;
        let manifest = open(new.path(), trusted)?.manifest().clone();
        Ok((new, manifest))
    }

    fn write(
        &self,
        records: impl Iterator<Item = Result<(Kind, Record), SnapshotError>>,
        expected: BTreeMap<Kind, u64>,
        about: Manifest,
        key: &SigningKey,
    ) -> Result<NamedTempFile, StoreError> {
        let new = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder);
        let mut new = new.map_err(|error| self.failed(error))?;
        let write = || -> Result<(), SnapshotError> {
            let mut writer = Writer::new(BufWriter::new(new.as_file_mut()), expected)?;
            for record in records {
                let (kind, record) = record?;
                writer.push(kind, &record)?;
            }
            let (mut output, _) = writer.finish(about, key)?;
            output.flush()?;
            output.get_ref().sync_data().map_err(SnapshotError::Io)
        };
        match write() {
            Ok(()) => Ok(new),
            Err(SnapshotError::Io(error)) => Err(self.failed(error)),
            Err(error) => Err(StoreError::Snapshot { path: new.path().to_owned(), error }),
        }
    }

    /// The current snapshot becomes the previous one when its manifest is sound: what was cut off takes no good one's
    /// place.
    fn replace_current(&self, new: NamedTempFile, trusted: &PublicKey) -> Result<(), StoreError> {
        let (current, previous) = (self.current(), self.folder.join(PREVIOUS));
        if open(&current, std::slice::from_ref(trusted)).is_ok() {
            let kept = self.folder.join(format!("{UNFINISHED}previous"));
            absent(fs::remove_file(&kept)).map_err(|error| self.failed(error))?;
            let kept = fs::hard_link(&current, &kept).and_then(|()| fs::rename(&kept, &previous));
            kept.map_err(|error| StoreError::Io { path: previous, error })?;
        }
        persist(new, &current)
    }

    fn next_sequence(&self, trusted: &[PublicKey]) -> u64 {
        let sequence =
            |name| open(&self.folder.join(name), trusted).map_or(0, |reader| reader.manifest().sequence);
        sequence(CURRENT).max(sequence(PREVIOUS)) + 1
    }

    /// Waits until nobody else changes this store, and clears away what a crash left.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.folder.join("lock");
        let file = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let file = file.map_err(|error| StoreError::Io { path, error })?;
        for entry in fs::read_dir(&self.folder).map_err(|error| self.failed(error))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                absent(fs::remove_file(entry.path())).map_err(|error| self.failed(error))?;
            }
        }
        Ok(file)
    }

    fn source_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.folder.join(SOURCES).join(checked(name)?))
    }

    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::Io { path: self.folder.clone(), error }
    }
}

/// A name that can be one of a file.
fn checked(name: &str) -> Result<&str, StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let sound = (1..=NAME_MOST).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.');
    if sound { Ok(name) } else { Err(StoreError::Name(name.to_owned())) }
}

fn load(path: &Path, trusted: &[PublicKey]) -> Result<Snapshot, StoreError> {
    let opened = File::open(path).map_err(SnapshotError::from);
    let snapshot = opened.and_then(|file| Snapshot::load(file, trusted));
    snapshot.map_err(|error| StoreError::Snapshot { path: path.to_owned(), error })
}

fn open(path: &Path, trusted: &[PublicKey]) -> Result<Reader<BufReader<File>>, StoreError> {
    let opened = File::open(path).map_err(SnapshotError::from);
    let reader = opened.and_then(|file| Reader::open(BufReader::new(file), trusted));
    reader.map_err(|error| StoreError::Snapshot { path: path.to_owned(), error })
}

/// Gives a finished file its name, and has the name outlast a power cut.
fn persist(new: NamedTempFile, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::Io { path: path.to_owned(), error };
    new.persist(path).map_err(|error| failed(error.error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Longer names of sources are refused.
pub const NAME_MOST: usize = 64;

const SOURCES: &str = "sources";
const LISTS: &str = "lists";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const UNFINISHED: &str = ".new-";
