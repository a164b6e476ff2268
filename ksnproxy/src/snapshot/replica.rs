//! A file that follows the snapshots of a reputation server, and what of the next one has come already.
//!
//! ```text
//! FILE            the snapshot, or the part of it that is wanted: always whole, always verified
//! FILE.segments/  segments of the next one that have come and fit, each named by its SHA-256
//! FILE.new        the next one while it is put together; of no meaning to anybody else
//! ```
//! A segment is put to disk as soon as it fits, so whatever ends the program costs one segment. What the file has already is taken
//! from it. FILE.new is synced and renamed, so at any moment FILE is the one snapshot or the other. Until the end there is
//! room needed for all three.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use klnet_wire::signed::{PublicKey, Signed};

use super::manifest::Manifest;
use super::part::Part;
use super::reader::{Reader, SnapshotError, verify_manifest, verify_segment};
use super::segment::SegmentId;
use crate::subject::Kind;

/// A file that follows the snapshots of a reputation server.
#[derive(Debug)]
pub struct Replica {
    path: PathBuf,
    trusted: Vec<PublicKey>,
    wanted: Wanted,
    /// Every byte of the file has been verified; one that is damaged is mended from the server.
    sound: bool,
}

/// Which part of a snapshot is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Key spaces; all of them when there is none.
    pub kinds: Vec<Kind>,
    /// More bytes of segments are refused.
    pub limit: u64,
}

/// The next snapshot while it is put together.
pub struct Filling {
    part: Part<BufWriter<File>>,
    held: Option<Held>,
    segments: std::vec::IntoIter<SegmentId>,
    fetched: PathBuf,
    unfinished: Unfinished,
}

/// Why a snapshot does not take the place of the one before.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Nobody who is trusted signed it, or it is not what was signed.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// There is a newer one here.
    #[error("snapshot {offered} is older than {held}, which is here")]
    Older {
        /// Its sequence.
        offered: u64,
        /// That of the one that is here.
        held: u64,
    },
    /// Two snapshots were signed with one sequence.
    #[error("there is another snapshot {0} here, signed as well")]
    Other(u64),
    /// What is wanted of it is too long.
    #[error("snapshot of {0} bytes exceeds the limit of {1}")]
    TooLong(u64, u64),
    /// A file could not be read or written.
    #[error("cannot change {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        error: io::Error,
    },
}

impl Replica {
    /// Follows into `path`; `sound` says that every byte of what is there has been verified.
    ///
    /// # Errors
    /// [`ReplicaError::Io`] when nothing can be written there.
    pub fn new(
        path: PathBuf,
        trusted: Vec<PublicKey>,
        wanted: Wanted,
        sound: bool,
    ) -> Result<Self, ReplicaError> {
        let replica = Self { path, trusted, wanted, sound };
        let fetched = replica.beside("segments");
        fs::create_dir_all(&fetched).map_err(failed(&fetched))?;
        Ok(replica)
    }

    /// Begins with a manifest that came from somewhere; `None` when the file is that snapshot.
    ///
    /// # Errors
    /// [`ReplicaError`] when it is not to be followed.
    pub fn begin(&self, signed: Signed) -> Result<Option<Filling>, ReplicaError> {
        let manifest = verify_manifest(&signed, &self.trusted).map_err(ReplicaError::Snapshot)?;
        let segments = self.wanted.of(&manifest)?;
        let held = Held::open(&self.path, &self.trusted);
        if let Some(held) = &held
            && self.has(held, &signed, &manifest, &segments)?
        {
            self.forget_fetched(&HashSet::new())?;
            return Ok(None);
        }
        let names = segments.iter().filter_map(|segment| manifest.digest(segment.ordinal).map(name));
        self.forget_fetched(&names.collect())?;
        let unfinished = Unfinished(self.beside("new"));
        let file = File::create(&unfinished.0).map_err(failed(&unfinished.0))?;
        let part = Part::new(BufWriter::new(file), signed, &self.trusted).map_err(unfinished.failed())?;
        let (segments, fetched) = (segments.into_iter(), self.beside("segments"));
        Ok(Some(Filling { part, held, segments, fetched, unfinished }))
    }

    /// Has the next snapshot take the place of the one before. On any error that one is still there.
    ///
    /// # Errors
    /// [`ReplicaError::Io`].
    ///
    /// # Panics
    /// When a segment is missing.
    pub fn publish(&mut self, filling: Filling) -> Result<Manifest, ReplicaError> {
        assert!(filling.segments.len() == 0, "every segment was taken");
        let Filling { part, unfinished, .. } = filling;
        let manifest = part.manifest().clone();
        let written = part.finish().map_err(unfinished.failed())?;
        let synced = || -> io::Result<()> { written.into_inner()?.sync_all() };
        synced().map_err(failed(&unfinished.0))?;
        fs::rename(&unfinished.0, &self.path).map_err(failed(&self.path))?;
        self.sound = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))?;
        self.forget_fetched(&HashSet::new())?;
        Ok(manifest)
    }

    /// Whether all that is wanted is here; an error when that which is here is the better one.
    fn has(
        &self,
        held: &Held,
        signed: &Signed,
        manifest: &Manifest,
        segments: &[SegmentId],
    ) -> Result<bool, ReplicaError> {
        let (offered, here) = (manifest.sequence, held.reader.manifest().sequence);
        if offered < here {
            return Err(ReplicaError::Older { offered, held: here });
        }
        if offered > here {
            return Ok(false);
        }
        if held.reader.signed().bytes != signed.bytes {
            return Err(ReplicaError::Other(here));
        }
        Ok(self.sound && segments.iter().all(|segment| held.reader.holds(segment)))
    }

    /// Deletes all segments that have come but those with these names.
    fn forget_fetched(&self, wanted: &HashSet<String>) -> Result<(), ReplicaError> {
        let folder = self.beside("segments");
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
            }
        }
        Ok(())
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(what);
        name.into()
    }
}

impl Wanted {
    /// The segments of a snapshot that are wanted, in its order.
    fn of(&self, manifest: &Manifest) -> Result<Vec<SegmentId>, ReplicaError> {
        let is_wanted = |segment: &SegmentId| self.kinds.is_empty() || self.kinds.contains(&segment.kind);
        let segments: Vec<_> = manifest.segments().filter(is_wanted).collect();
        let bytes = segments.iter().map(SegmentId::length).fold(0, u64::saturating_add);
        if bytes > self.limit { Err(ReplicaError::TooLong(bytes, self.limit)) } else { Ok(segments) }
    }
}

impl Filling {
    /// The next segment that is not here; those that are, are taken.
    ///
    /// # Errors
    /// [`ReplicaError::Io`] when there is no room.
    pub fn next_missing(&mut self) -> Result<Option<SegmentId>, ReplicaError> {
        while let Some(segment) = self.segments.next() {
            match self.find(&segment) {
                Some(bytes) => self.part.push(&segment, &bytes).map_err(self.unfinished.failed())?,
                None => return Ok(Some(segment)),
            }
        }
        Ok(None)
    }

    /// Takes the segment that [`Self::next_missing`] gave.
    ///
    /// # Errors
    /// [`ReplicaError`] when it is not what was signed, or there is no room.
    pub fn put(&mut self, segment: &SegmentId, bytes: &[u8]) -> Result<(), ReplicaError> {
        let damaged = SnapshotError::Segment { kind: segment.kind, index: segment.index };
        let digest = self.part.manifest().digest(segment.ordinal);
        let Some(digest) = digest.filter(|_| verify_segment(self.part.manifest(), segment, bytes)) else {
            return Err(ReplicaError::Snapshot(damaged));
        };
        let path = self.fetched.join(name(digest));
        fs::write(&path, bytes).map_err(failed(&path))?;
        self.part.push(segment, bytes).map_err(self.unfinished.failed())
    }

    /// What the next snapshot consists of.
    pub fn manifest(&self) -> &Manifest {
        self.part.manifest()
    }

    /// The segment, verified: it came before, or the snapshot before has it as well.
    fn find(&mut self, segment: &SegmentId) -> Option<Vec<u8>> {
        if segment.records == 0 {
            return Some(Vec::new());
        }
        let digest = *self.part.manifest().digest(segment.ordinal)?;
        let fetched = read(&self.fetched.join(name(&digest)), segment.length());
        let fetched = fetched.filter(|bytes| verify_segment(self.part.manifest(), segment, bytes));
        fetched.or_else(|| self.held.as_mut()?.find(&digest))
    }
}

/// The file as it is, and what is in it.
struct Held {
    reader: Reader<BufReader<File>>,
    by_digest: HashMap<[u8; 32], SegmentId>,
}

impl Held {
    /// `None` when there is no file, or not one whose manifest can be believed.
    fn open(path: &Path, trusted: &[PublicKey]) -> Option<Self> {
        let reader = Reader::open(BufReader::new(File::open(path).ok()?), trusted).ok()?;
        let digest = |segment: SegmentId| Some((*reader.manifest().digest(segment.ordinal)?, segment));
        let by_digest = reader.manifest().segments().filter_map(digest).collect();
        Some(Self { reader, by_digest })
    }

    fn find(&mut self, digest: &[u8; 32]) -> Option<Vec<u8>> {
        // A damaged one is fetched again.
        self.reader.segment(self.by_digest.get(digest)?).ok().flatten()
    }
}

/// A file that is gone when it was not renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn failed(&self) -> impl Fn(SnapshotError) -> ReplicaError {
        |error| match error {
            SnapshotError::Io(error) => ReplicaError::Io { path: self.0.clone(), error },
            error => ReplicaError::Snapshot(error),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What a crash leaves is overwritten.
        let _ = fs::remove_file(&self.0);
    }
}

/// A file of exactly this length.
fn read(path: &Path, length: u64) -> Option<Vec<u8>> {
    fs::metadata(path).ok().filter(|about| about.len() == length)?;
    fs::read(path).ok()
}

fn name(digest: &[u8; 32]) -> String {
    HEXLOWER.encode(digest)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReplicaError {
    |error| ReplicaError::Io { path: path.to_owned(), error }
}
