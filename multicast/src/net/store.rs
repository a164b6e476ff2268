//! Where an object is put together: verified blocks beside the folder's files, the final names only when all is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::versions::replace;
use crate::catalogue::{Catalogue, FileEntry};
use crate::manifest::Manifest;
use crate::path::RESERVED;

/// One object on its way into a folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// Parts of the object; the same for the same content, whoever sends it and however often.
    staging: PathBuf,
    manifest: Manifest,
    catalogue: Option<Catalogue>,
    /// Whether the folder has the object already.
    in_place: bool,
}

/// Why an object cannot be put into a folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system has too little room.
    #[error("{needed} bytes are needed, {free} are free")]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Something that is no folder is where one has to be, or the other way round.
    #[error("{} is in the way", .0.display())]
    InTheWay(PathBuf),
    /// The catalogue is not the manifest's.
    #[error("the catalogue is not what was signed")]
    Catalogue,
    /// What the system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

impl Store {
    pub(super) fn new(folder: &Path, manifest: Manifest) -> Self {
        let staging = folder.join(RESERVED).join(HEXLOWER.encode(&manifest.catalogue[..16]));
        Self { folder: folder.to_owned(), staging, manifest, catalogue: None, in_place: false }
    }

    /// Looks for what an earlier session left; gives the blocks that are there and verified.
    pub(super) fn resume(&mut self) -> Vec<u32> {
        self.kept_catalogue().map_or_else(Vec::new, |(_, blocks)| [vec![0], blocks].concat())
    }

    /// Takes block 0; gives the content blocks that are there and verified.
    ///
    /// # Errors
    /// When the catalogue is not the manifest's, or the object cannot be taken.
    pub(super) fn take_catalogue(&mut self, bytes: &[u8]) -> Result<Vec<u32>, StoreError> {
        let catalogue = Catalogue::decode(bytes, &self.manifest).map_err(|_| StoreError::Catalogue)?;
        self.catalogue = Some(catalogue);
        let whole = self.verified(|store, _, file| file.path.below(&store.folder));
        if whole.len() == self.hashes().len() && self.entries().iter().all(|file| self.is_in_place(file)) {
            self.in_place = true;
            return Ok(whole);
        }
        self.has_room()?;
        fs::create_dir_all(&self.staging).map_err(|error| failed(&self.staging, error))?;
        let path = self.staging.join(CATALOGUE);
        replace(&path, bytes).map_err(|error| failed(&path, error))?;
        Ok(self.verified(|store, index, _| store.part(index)))
    }

    /// The catalogue that an earlier session left, and the content blocks that are there and verified.
    pub(super) fn kept_catalogue(&mut self) -> Option<(Vec<u8>, Vec<u32>)> {
        let bytes = fs::read(self.staging.join(CATALOGUE)).ok()?;
        let blocks = self.take_catalogue(&bytes).ok()?;
        Some((bytes, blocks))
    }

    /// Whether a block's bytes are what was signed.
    pub(super) fn fits(&self, block: u32, bytes: &[u8]) -> bool {
        match (block as usize).checked_sub(1) {
            None => Catalogue::hash(bytes) == self.manifest.catalogue,
            Some(index) => self.hashes().get(index) == Some(blake3::hash(bytes).as_bytes()),
        }
    }

    /// Writes a content block that fits.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, block: u32, bytes: &[u8]) -> Result<(), StoreError> {
        for piece in self.pieces(block, bytes.len()) {
            let path = self.part(piece.file);
            let written =
                File::options().write(true).create(true).truncate(false).open(&path).and_then(|file| {
                    // Pieces that stay in the cache are copied faster.
                    bytes[piece.bytes.clone()]
                        .chunks(PIECE)
                        .enumerate()
                        .try_for_each(|(n, chunk)| file.write_all_at(chunk, piece.at + (n * PIECE) as u64))
                });
            written.map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }

    /// Gives every file its final name, once all of them are on the disk.
    ///
    /// # Errors
    /// What the system says; the parts stay for another try.
    pub(super) fn finish(&self) -> Result<Vec<PathBuf>, StoreError> {
        let paths: Vec<_> = self.entries().iter().map(|file| file.path.below(&self.folder)).collect();
        if self.in_place {
            return Ok(paths);
        }
        for (index, file) in self.entries().iter().enumerate() {
            let path = self.part(index);
            complete(&path, file).map_err(|error| failed(&path, error))?;
        }
        let mut folders = BTreeSet::from([self.folder.clone()]);
        for (index, file) in self.entries().iter().enumerate() {
            folders.extend(self.make_way(file)?);
            let path = &paths[index];
            fs::rename(self.part(index), path).map_err(|error| failed(path, error))?;
        }
        for folder in &folders {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))?;
        }
        // What is left over costs room, nothing else.
        let _ = fs::remove_dir_all(&self.staging);
        Ok(paths)
    }

    /// Makes the folders above a file, each a real one: a link would lead elsewhere.
    fn make_way(&self, file: &FileEntry) -> Result<Vec<PathBuf>, StoreError> {
        let (mut path, mut made) = (self.folder.clone(), Vec::new());
        let mut parts = file.path.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            let is_last = parts.peek().is_none();
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() == is_last => return Err(StoreError::InTheWay(path)),
                Ok(_) => {}
                Err(_) if is_last => {}
                Err(_) => fs::create_dir(&path).map_err(|error| failed(&path, error))?,
            }
            if !is_last {
                made.push(path.clone());
            }
        }
        Ok(made)
    }

    fn has_room(&self) -> Result<(), StoreError> {
        let there = (0..self.entries().len()).filter_map(|index| fs::metadata(self.part(index)).ok());
        let there: u64 = there.map(|metadata| metadata.len()).sum();
        let needed = self.manifest.length.saturating_sub(there);
        let free = rustix::fs::statvfs(&self.folder).map_err(|error| failed(&self.folder, error.into()))?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if needed > free { Err(StoreError::NoRoom { needed, free }) } else { Ok(()) }
    }

    /// The content blocks whose bytes are in the files that `path` names.
    fn verified(&self, path: impl Fn(&Self, usize, &FileEntry) -> PathBuf) -> Vec<u32> {
        let size = 1_usize << self.manifest.block_log2;
        let (mut blocks, mut bytes) = (Vec::new(), vec![0; size]);
        for block in 1..=u32::try_from(self.hashes().len()).unwrap_or(u32::MAX) {
            let begin = u64::from(block - 1) * size as u64;
            let length = usize::try_from(self.manifest.length - begin).map_or(size, |left| left.min(size));
            let read = self.pieces(block, length).into_iter().try_for_each(|piece| {
                let file = File::open(path(self, piece.file, &self.entries()[piece.file]))?;
                file.read_exact_at(&mut bytes[piece.bytes], piece.at)
            });
            if read.is_ok() && self.fits(block, &bytes[..length]) {
                blocks.push(block);
            }
        }
        blocks
    }

    fn is_in_place(&self, file: &FileEntry) -> bool {
        let there = fs::symlink_metadata(file.path.below(&self.folder));
        there.is_ok_and(|there| there.is_file() && there.len() == file.length)
    }

    /// Which bytes of a block belong where in which file.
    fn pieces(&self, block: u32, length: usize) -> Vec<Piece> {
        let begin = u64::from(block.saturating_sub(1)) << self.manifest.block_log2;
        let end = begin + length as u64;
        let (mut at, mut pieces) = (0_u64, Vec::new());
        for (file, entry) in self.entries().iter().enumerate() {
            let (from, to) = (begin.max(at), end.min(at + entry.length));
            if from < to {
                let inside = |at: u64| usize::try_from(at - begin).expect("inside a block");
                pieces.push(Piece { file, at: from - at, bytes: inside(from)..inside(to) });
            }
            at += entry.length;
        }
        pieces
    }

    fn part(&self, index: usize) -> PathBuf {
        self.staging.join(index.to_string())
    }

    fn entries(&self) -> &[FileEntry] {
        self.catalogue.as_ref().map_or(&[], |catalogue| &catalogue.files)
    }

    fn hashes(&self) -> &[[u8; 32]] {
        self.catalogue.as_ref().map_or(&[], |catalogue| &catalogue.hashes)
    }
}

/// Some of a block's bytes, and where they belong.
struct Piece {
    file: usize,
    at: u64,
    bytes: std::ops::Range<usize>,
}

/// Gives a part its length and rights, and brings it to the disk.
fn complete(path: &Path, file: &FileEntry) -> io::Result<()> {
    let part = File::options().write(true).create(true).truncate(false).open(path)?;
    part.set_len(file.length)?;
    if file.executable {
        let mut permissions = part.metadata()?.permissions();
        let mode = permissions.mode();
        permissions.set_mode(mode | (mode & 0o444) >> 2);
        part.set_permissions(permissions)?;
    }
    part.sync_all()
}

/// The folder's own name as a receiver: read, or drawn and written.
pub(super) fn receiver_id(folder: &Path) -> Result<crate::id::ReceiverId, StoreError> {
    let own = folder.join(RESERVED);
    let path = own.join("receiver-id");
    fs::create_dir_all(&own).map_err(|error| failed(&own, error))?;
    let mut text = String::new();
    if let Ok(mut file) = File::open(&path) {
        file.read_to_string(&mut text).map_err(|error| failed(&path, error))?;
        if let Ok(id) = text.trim().parse() {
            return Ok(id);
        }
    }
    let id = crate::id::ReceiverId::random();
    replace(&path, id.to_string().as_bytes()).map_err(|error| failed(&path, error))?;
    Ok(id)
}

fn failed(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::NoRoom { needed: 0, free: 0 }
        }
        _ => StoreError::Io { path: path.to_owned(), error },
    }
}

const CATALOGUE: &str = "catalogue";
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::sample;
    use crate::path::ObjectPath;

    #[test]
    fn blocks_become_files_and_nothing_has_its_name_before() {
        let world = World::new();
        let mut store = world.store();
        assert!(store.take_catalogue(&world.catalogue).unwrap().is_empty());
        for block in [2, 1, 3] {
            store.write(block, world.block(block as usize)).unwrap();
            assert!(!world.folder.path().join("a").exists());
        }
        store.finish().unwrap();
        assert_eq!(world.read("a"), world.content[..5000]);
        assert_eq!(world.read("sub/b"), world.content[5000..]);
        assert!(world.read("empty").is_empty());
        let mode = fs::metadata(world.folder.path().join("sub/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100, "executable");
        assert_eq!(world.store().take_catalogue(&world.catalogue).unwrap(), [1, 2, 3], "it is there");
    }

    #[test]
    fn what_is_verified_survives_and_what_was_damaged_does_not() {
        let world = World::new();
        let mut store = world.store();
        store.take_catalogue(&world.catalogue).unwrap();
        store.write(1, world.block(1)).unwrap();
        store.write(2, world.block(2)).unwrap();
        assert_eq!(world.store().resume(), [0, 1, 2]);
        fs::write(store.part(0), b"damaged").unwrap();
        assert_eq!(world.store().resume(), [0]);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let (world, elsewhere) = (World::new(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), world.folder.path().join("sub")).unwrap();
        let mut store = world.store();
        store.take_catalogue(&world.catalogue).unwrap();
        (1..=3).for_each(|block| store.write(block, world.block(block as usize)).unwrap());
        assert!(matches!(store.finish(), Err(StoreError::InTheWay(_))));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_object_larger_than_the_disk_is_refused_at_once() {
        let world = World::new();
        let manifest = Manifest { length: 1 << 60, ..world.manifest.clone() };
        let store = Store::new(world.folder.path(), manifest);
        assert!(matches!(store.has_room(), Err(StoreError::NoRoom { needed, .. }) if needed == 1 << 60));
    }

    #[test]
    fn a_folder_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(receiver_id(folder.path()).unwrap(), receiver_id(folder.path()).unwrap());
    }

    struct World {
        folder: tempfile::TempDir,
        content: Vec<u8>,
        catalogue: Vec<u8>,
        manifest: Manifest,
    }

    impl World {
        /// Two files and an empty one in three blocks of 4 KiB.
        fn new() -> Self {
            let content: Vec<u8> = (0..9000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let file = |path: &str, length, executable| FileEntry {
                path: ObjectPath::try_from(path).unwrap(),
                length,
                executable,
            };
            let files = vec![file("a", 5000, false), file("empty", 0, false), file("sub/b", 4000, true)];
            let hashes = content.chunks(4096).map(|block| *blake3::hash(block).as_bytes()).collect();
            let catalogue = Catalogue { files, hashes }.encode();
            let manifest = Manifest {
                length: 9000,
                block_log2: 12,
                catalogue: Catalogue::hash(&catalogue),
                catalogue_length: u32::try_from(catalogue.len()).unwrap(),
                ..sample()
            };
            Self { folder: tempfile::tempdir().unwrap(), content, catalogue, manifest }
        }

        fn store(&self) -> Store {
            Store::new(self.folder.path(), self.manifest.clone())
        }

        fn block(&self, block: usize) -> &[u8] {
            self.content.chunks(4096).nth(block - 1).unwrap()
        }

        fn read(&self, path: &str) -> Vec<u8> {
            fs::read(self.folder.path().join(path)).unwrap()
        }
    }
}
