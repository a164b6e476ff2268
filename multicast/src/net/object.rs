//! What is sent: files on the disk, their catalogue, and a signed manifest.

use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klnet_wire::signed::Signed;
use klnet_wire::signing::SigningKey;

use crate::announcement::INLINE_LIMIT;
use crate::catalogue::{Catalogue, FileEntry};
use crate::layout::{BLOCK_LOG2_MOST, CATALOGUE_LIMIT};
use crate::manifest::{Manifest, NAME_LIMIT};
use crate::path::{BadPath, ObjectPath};
use crate::reader::Malformed;

/// An object whose bytes are in files.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub manifest: Manifest,
    /// The manifest as it travels.
    pub signed: Signed,
    catalogue: Vec<u8>,
    hashes: Vec<[u8; 32]>,
    files: Vec<Source>,
}

/// A file, and where its bytes begin in the content.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    begin: u64,
    length: u64,
}

/// Why paths are no object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its name would surprise a receiver.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// It is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", .0.display())]
    Kind(PathBuf),
    /// It changed since it was read first.
    #[error("{} changed while it was being sent", .0.display())]
    Changed(PathBuf),
    /// There are too many files or bytes, or two of one name.
    #[error("these files do not make an object: too many, or two with one name")]
    TooMuch,
}

impl Object {
    /// Reads the files and folders once, to know their hashes, and signs what they are.
    ///
    /// # Errors
    /// What cannot be read or sent.
    pub fn from_paths(paths: &[PathBuf], signer: &SigningKey) -> Result<Self, ObjectError> {
        let mut files = Vec::new();
        for path in paths {
            let whole = fs::canonicalize(path).map_err(|error| unreadable(path, error))?;
            let name = whole.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| BadPath(path.display().to_string()))?;
            collect(&whole, name, &mut files)?;
        }
        files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let (entries, paths): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let mut begin = 0_u64;
        let sources = entries.iter().zip(paths).map(|(entry, path)| {
            let source = Source { path, begin, length: entry.length };
            begin = begin.saturating_add(entry.length);
            source
        });
        let mut object = Self::unsigned(sources.collect(), name_of(paths_name(&entries)));
        object.hashes = object.hash()?;
        let catalogue = Catalogue { files: entries, hashes: object.hashes.clone() };
        object.sign(&catalogue, signer)
    }

    /// An object that somebody else has signed and whose files are in `folder`; `catalogue` is its block 0.
    ///
    /// # Errors
    /// [`Malformed`] when that is not the manifest's.
    pub fn in_folder(
        folder: &Path,
        manifest: Manifest,
        signed: Signed,
        catalogue: Vec<u8>,
    ) -> Result<Self, Malformed> {
        let Catalogue { files, hashes } = Catalogue::decode(&catalogue, &manifest)?;
        let mut begin = 0;
        let sources = files.iter().map(|file| {
            let source = Source { path: file.path.below(folder), begin, length: file.length };
            begin += file.length;
            source
        });
        Ok(Self { files: sources.collect(), manifest, signed, catalogue, hashes })
    }

    /// The catalogue's bytes.
    pub fn catalogue(&self) -> &[u8] {
        &self.catalogue
    }

    /// Reads a content block and makes sure that it is still what the catalogue says.
    ///
    /// # Errors
    /// What cannot be read, or has changed.
    pub fn read_block(&self, block: u32, buffer: &mut Vec<u8>) -> Result<(), ObjectError> {
        let size = 1_u64 << self.manifest.block_log2;
        let begin = u64::from(block.saturating_sub(1)) * size;
        self.read(begin, size.min(self.manifest.length.saturating_sub(begin)), buffer)?;
        let expected = (block as usize).checked_sub(1).and_then(|index| self.hashes.get(index));
        if expected == Some(blake3::hash(buffer).as_bytes()) {
            return Ok(());
        }
        Err(ObjectError::Changed(
            self.source_at(begin).map_or_else(PathBuf::new, |source| source.path.clone()),
        ))
    }

    /// Catalogue and content, if both fit an announcement.
    ///
    /// # Errors
    /// What cannot be read, or has changed.
    pub fn inline(&self) -> Result<Option<Bytes>, ObjectError> {
        let whole = self.catalogue.len() as u64 + self.manifest.length;
        if whole > INLINE_LIMIT as u64 {
            return Ok(None);
        }
        let (mut inline, mut block) = (self.catalogue.clone(), Vec::new());
        if self.manifest.length > 0 {
            self.read_block(1, &mut block)?;
        }
        inline.extend(block);
        Ok(Some(inline.into()))
    }

    fn unsigned(files: Vec<Source>, name: String) -> Self {
        let length = files.iter().map(|file| file.length).sum();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manifest = Manifest {
            name,
            version: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            issued: since.as_secs(),
            expires: 0,
            audience: [0; 16],
            length,
            catalogue_length: 0,
            catalogue: [0; 32],
            block_log2: BLOCK_LOG2_MOST,
        };
        let signed = Signed::default();
        Self { manifest, signed, catalogue: Vec::new(), hashes: Vec::new(), files }
    }

    fn sign(mut self, catalogue: &Catalogue, signer: &SigningKey) -> Result<Self, ObjectError> {
        self.catalogue = catalogue.encode();
        let length = u32::try_from(self.catalogue.len()).ok().filter(|length| *length <= CATALOGUE_LIMIT);
        self.manifest.catalogue_length = length.ok_or(ObjectError::TooMuch)?;
        self.manifest.catalogue = Catalogue::hash(&self.catalogue);
        self.signed = self.manifest.sign(signer).map_err(|_| ObjectError::TooMuch)?;
        // Whatever a receiver would refuse is better refused here.
        Catalogue::decode(&self.catalogue, &self.manifest).map_err(|_| ObjectError::TooMuch)?;
        Ok(self)
    }

    /// The hash of every block, by several threads: nothing goes out before all are known.
    fn hash(&self) -> Result<Vec<[u8; 32]>, ObjectError> {
        let blocks = self.manifest.length.div_ceil(1 << self.manifest.block_log2);
        let blocks = usize::try_from(blocks).map_err(|_| ObjectError::TooMuch)?;
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(HASHERS);
        let share = blocks.div_ceil(threads).max(1);
        let mut hashes = vec![[0; 32]; blocks];
        thread::scope(|scope| {
            let shares = hashes.chunks_mut(share).zip((0_u64..).step_by(share));
            let hashers: Vec<_> =
                shares.map(|(hashes, first)| scope.spawn(move || self.hash_share(first, hashes))).collect();
            hashers.into_iter().try_for_each(|hasher| hasher.join().expect("hashing does not panic"))
        })?;
        Ok(hashes)
    }

    /// The hashes of the blocks from `first` on, counted without the catalogue.
    fn hash_share(&self, first: u64, hashes: &mut [[u8; 32]]) -> Result<(), ObjectError> {
        let (size, mut buffer) = (1_u64 << self.manifest.block_log2, Vec::new());
        for (hash, block) in hashes.iter_mut().zip(first..) {
            let begin = block * size;
            self.read(begin, size.min(self.manifest.length - begin), &mut buffer)?;
            *hash = *blake3::hash(&buffer).as_bytes();
        }
        Ok(())
    }

    fn read(&self, begin: u64, length: u64, buffer: &mut Vec<u8>) -> Result<(), ObjectError> {
        // What was there before is overwritten.
        buffer.resize(usize::try_from(length).map_err(|_| ObjectError::TooMuch)?, 0);
        let (mut at, mut rest) = (begin, buffer.as_mut_slice());
        while !rest.is_empty() {
            let source = self.source_at(at).ok_or(ObjectError::TooMuch)?;
            let left = usize::try_from(source.begin + source.length - at).unwrap_or(usize::MAX);
            let (part, later) = rest.split_at_mut(left.min(rest.len()));
            let file = File::open(&source.path).map_err(|error| unreadable(&source.path, error))?;
            file.read_exact_at(part, at - source.begin).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ObjectError::Changed(source.path.clone()),
                _ => unreadable(&source.path, error),
            })?;
            at += part.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// The file that has the content's byte `at`.
    fn source_at(&self, at: u64) -> Option<&Source> {
        let index = self.files.partition_point(|source| source.begin + source.length <= at);
        self.files.get(index)
    }
}

/// Adds a file, or all files below a folder, under this name.
fn collect(path: &Path, name: &str, files: &mut Vec<(FileEntry, PathBuf)>) -> Result<(), ObjectError> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.is_file() {
        let executable = metadata.permissions().mode() & 0o100 != 0;
        let entry = FileEntry { path: ObjectPath::try_from(name)?, length: metadata.len(), executable };
        files.push((entry, path.to_owned()));
        return Ok(());
    }
    if !metadata.is_dir() {
        return Err(ObjectError::Kind(path.to_owned()));
    }
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let entry = entry.map_err(|error| unreadable(path, error))?;
        let own = entry.file_name();
        let own = own.to_str().ok_or_else(|| BadPath(entry.path().display().to_string()))?;
        // A link would bring what is elsewhere, or never end.
        if !entry.file_type().map_err(|error| unreadable(path, error))?.is_symlink() {
            collect(&entry.path(), &format!("{name}/{own}"), files)?;
        }
    }
    Ok(())
}

/// The first part of the first path, and how many others there are.
fn paths_name(entries: &[FileEntry]) -> String {
    let mut tops: Vec<&str> =
        entries.iter().filter_map(|entry| entry.path.as_str().split('/').next()).collect();
    tops.dedup();
    match tops.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}

/// A name cut to what travels.
fn name_of(mut name: String) -> String {
    while name.len() > NAME_LIMIT {
        name.pop();
    }
    name
}

fn unreadable(path: &Path, error: io::Error) -> ObjectError {
    ObjectError::Io { path: path.to_owned(), error }
}

/// Threads that hash: what a disk brings keeps no more of them busy.
const HASHERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_the_hash_of_its_own_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let bytes: Vec<u8> = (0..(17_u32 << 20) + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs::write(&path, &bytes).unwrap();
        let (object, mut block) = (object(&path), Vec::new());
        assert_eq!(object.hashes.len(), 5);
        for (number, expected) in (1..).zip(bytes.chunks(4 << 20)) {
            object.read_block(number, &mut block).unwrap();
            assert!(block == expected, "block {number}");
        }
    }

    #[test]
    fn a_folder_becomes_an_object_whose_blocks_are_its_files_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("pack");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a"), b"hello ").unwrap();
        fs::write(root.join("sub/b"), b"world").unwrap();
        fs::write(root.join("empty"), b"").unwrap();
        let object = object(&root);
        assert_eq!((object.manifest.name.as_str(), object.manifest.length), ("pack", 11));
        let mut block = Vec::new();
        object.read_block(1, &mut block).unwrap();
        assert_eq!(block, b"hello world");
        let inline = object.inline().unwrap().unwrap();
        assert!(inline.ends_with(b"hello world"));
        let catalogue = Catalogue::decode(object.catalogue(), &object.manifest).unwrap();
        let paths: Vec<_> = catalogue.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["pack/a", "pack/empty", "pack/sub/b"]);
    }

    #[test]
    fn a_file_that_changed_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"one").unwrap();
        let object = object(&path);
        for now in [b"two".as_slice(), b"o"] {
            fs::write(&path, now).unwrap();
            assert!(matches!(object.read_block(1, &mut Vec::new()), Err(ObjectError::Changed(_))));
        }
    }

    #[test]
    fn what_a_receiver_would_refuse_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("con.txt");
        fs::write(&path, b"x").unwrap();
        let key = SigningKey::generate_ed25519();
        assert!(matches!(Object::from_paths(&[path], &key), Err(ObjectError::Path(_))));
        let none = Object::from_paths(&[folder.path().join("none")], &key);
        assert!(matches!(none, Err(ObjectError::Io { .. })));
    }

    fn object(path: &Path) -> Object {
        Object::from_paths(&[path.to_owned()], &SigningKey::generate_ed25519()).unwrap()
    }
}
