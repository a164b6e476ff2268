//! Contents of objects on the server's disk, each in a folder named by the hash of its catalogue.
//!
//! ```text
//! objects/HASH/shape       lengths of catalogue and content
//! objects/HASH/catalogue   block 0: files, and the hash of every block
//! objects/HASH/content     blocks 1, 2, … one after the other
//! ```
//! Blocks come in order and are verified before they are written, so how far an upload came is what the file's length says,
//! and it goes on there after a restart of either end. All of it is verified again before it is signed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use data_encoding::HEXLOWER;
use klnet_multicast::catalogue::Catalogue;
use klnet_multicast::layout::{BLOCK_LOG2_MOST, Layout, SYMBOL_USUAL};
use klnet_multicast::manifest::Manifest;

/// BLAKE3 hash of a content's catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub [u8; 32]);

/// How long a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of its catalogue.
    pub catalogue: u32,
    /// Bytes of content.
    pub length: u64,
}

/// Every content that is or may be distributed.
#[derive(Debug)]
pub struct Contents {
    folder: PathBuf,
    /// One block is written at a time.
    writing: Mutex<()>,
}

/// Why a content is not taken or given.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is not here, or not all of it.
    #[error("there is no such content here, or not all of it")]
    NotFound,
    /// Its lengths are none.
    #[error("no object has such lengths")]
    Shape,
    /// It is not what its hash says.
    #[error("block {0} is not what was announced")]
    Mismatch(u32),
    /// Another block is next.
    #[error("block {0} is next")]
    NotNext(u32),
    /// The disk has too little room.
    #[error("{needed} bytes are needed, {free} are free, of which {RESERVE} stay so")]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Too many are under way.
    #[error("{UNFINISHED_LIMIT} uploads are unfinished already; each is forgotten after a day")]
    TooMany,
    /// What the system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

impl ContentId {
    /// Reads it from hexadecimal.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl std::fmt::Display for ContentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Contents {
    /// Those in the server's state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER), writing: Mutex::default() }
    }

    /// Begins an upload, or finds how far it came; gives the block that is next. What nobody needs any more is forgotten:
    /// `is_kept` says of what is complete whether somebody does.
    ///
    /// # Errors
    /// `Shape`, `NoRoom`, `TooMany`, `Io`.
    pub fn begin(
        &self,
        id: ContentId,
        shape: Shape,
        is_kept: impl Fn(ContentId) -> bool,
    ) -> Result<u32, ContentError> {
        let _writing = self.writing.lock().expect("no holder panics");
        let layout = shape.layout().ok_or(ContentError::Shape)?;
        let folder = self.place(id);
        if let Ok(there) = self.shape(id) {
            return if there == shape { self.next(id, layout) } else { Err(ContentError::Shape) };
        }
        self.sweep(is_kept)?;
        self.has_room(shape.length)?;
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let path = folder.join(SHAPE);
        fs::write(&path, format!("{} {}\n", shape.catalogue, shape.length))
            .map_err(|error| failed(&path, error))?;
        Ok(0)
    }

    /// Takes the next block; gives the one after it.
    ///
    /// # Errors
    /// `NotFound`, `NotNext`, `Mismatch`, `Io`.
    pub fn put(&self, id: ContentId, block: u32, bytes: &[u8]) -> Result<u32, ContentError> {
        let _writing = self.writing.lock().expect("no holder panics");
        let shape = self.shape(id)?;
        let layout = shape.layout().ok_or(ContentError::NotFound)?;
        let next = self.next(id, layout)?;
        if block != next || block >= layout.blocks() {
            return Err(ContentError::NotNext(next));
        }
        if bytes.len() != layout.bytes(block) as usize || !self.fits(id, shape, block, bytes)? {
            return Err(ContentError::Mismatch(block));
        }
        match block {
            0 => self.write_catalogue(id, bytes)?,
            _ => self.write(id, layout.offset(block), bytes)?,
        }
        Ok(block + 1)
    }

    /// One block of a content that is complete.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn block(&self, id: ContentId, block: u32) -> Result<Vec<u8>, ContentError> {
        let layout = self.shape(id)?.layout().ok_or(ContentError::NotFound)?;
        if block >= layout.blocks() {
            return Err(ContentError::NotFound);
        }
        if block == 0 {
            return self.catalogue(id);
        }
        let path = self.place(id).join(CONTENT);
        let mut bytes = vec![0; layout.bytes(block) as usize];
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(layout.offset(block)))?;
            file.read_exact(&mut bytes)
        });
        read.map_err(|error| failed(&path, error))?;
        Ok(bytes)
    }

    /// Verifies all of a content and brings it to the disk; gives its catalogue and its shape.
    ///
    /// # Errors
    /// `NotFound`, `Mismatch`, `Io`.
    pub fn complete(&self, id: ContentId) -> Result<(Vec<u8>, Shape), ContentError> {
        let _writing = self.writing.lock().expect("no holder panics");
        let shape = self.shape(id)?;
        let layout = shape.layout().ok_or(ContentError::NotFound)?;
        if self.next(id, layout)? < layout.blocks() {
            return Err(ContentError::NotFound);
        }
        let bytes = self.catalogue(id)?;
        let catalogue = decode(id, shape, &bytes).ok_or(ContentError::Mismatch(0))?;
        for (block, hash) in (1..).zip(&catalogue.hashes) {
            if Catalogue::hash(&self.block(id, block)?) != *hash {
                return Err(ContentError::Mismatch(block));
            }
        }
        let folder = self.place(id);
        for path in [folder.join(SHAPE), folder.join(CATALOGUE), folder.join(CONTENT), folder] {
            match File::open(&path).and_then(|file| file.sync_all()) {
                // An object of empty files has no content.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, error)),
                _ => {}
            }
        }
        Ok((bytes, shape))
    }

    /// Forgets a content.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, id: ContentId) -> Result<(), ContentError> {
        let _writing = self.writing.lock().expect("no holder panics");
        self.forget(id)
    }

    fn forget(&self, id: ContentId) -> Result<(), ContentError> {
        let folder = self.place(id);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&folder, error)),
            _ => Ok(()),
        }
    }

    /// Forgets what is not kept and was not touched for a day.
    fn sweep(&self, is_kept: impl Fn(ContentId) -> bool) -> Result<(), ContentError> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(()) };
        let mut unfinished = 0;
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(ContentId::parse);
            let Some(id) = id.filter(|id| !is_kept(*id)) else { continue };
            let touched = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let age = touched.and_then(|touched| touched.elapsed().ok()).unwrap_or_default();
            match age > UNFINISHED_LIFE {
                true => self.forget(id)?,
                false => unfinished += 1,
            }
        }
        if unfinished < UNFINISHED_LIMIT { Ok(()) } else { Err(ContentError::TooMany) }
    }

    fn has_room(&self, needed: u64) -> Result<(), ContentError> {
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, error))?;
        let system = rustix::fs::statvfs(&self.folder).map_err(|error| failed(&self.folder, error.into()))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        match needed.saturating_add(RESERVE) <= free {
            true => Ok(()),
            false => Err(ContentError::NoRoom { needed, free }),
        }
    }

    /// The block that is next: what was cut short by a crash is taken again.
    fn next(&self, id: ContentId, layout: Layout) -> Result<u32, ContentError> {
        if !self.place(id).join(CATALOGUE).exists() {
            return Ok(0);
        }
        let path = self.place(id).join(CONTENT);
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            metadata => metadata.map_err(|error| failed(&path, error))?.len(),
        };
        let is_there = |block: &u32| layout.offset(*block) + u64::from(layout.bytes(*block)) <= length;
        Ok((1..layout.blocks()).take_while(is_there).last().unwrap_or(0) + 1)
    }

    fn fits(&self, id: ContentId, shape: Shape, block: u32, bytes: &[u8]) -> Result<bool, ContentError> {
        let Some(index) = (block as usize).checked_sub(1) else {
            return Ok(decode(id, shape, bytes).is_some());
        };
        let catalogue = decode(id, shape, &self.catalogue(id)?).ok_or(ContentError::Mismatch(0))?;
        Ok(catalogue.hashes.get(index) == Some(&Catalogue::hash(bytes)))
    }

    /// It is there whole, or not at all.
    fn write_catalogue(&self, id: ContentId, bytes: &[u8]) -> Result<(), ContentError> {
        let (path, new) = (self.place(id).join(CATALOGUE), self.place(id).join(CATALOGUE_NEW));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| failed(&path, error))
    }

    fn write(&self, id: ContentId, at: u64, bytes: &[u8]) -> Result<(), ContentError> {
        let path = self.place(id).join(CONTENT);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let written = file.and_then(|mut file| {
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)
        });
        written.map_err(|error| failed(&path, error))
    }

    fn catalogue(&self, id: ContentId) -> Result<Vec<u8>, ContentError> {
        let path = self.place(id).join(CATALOGUE);
        fs::read(&path).map_err(|error| failed(&path, error))
    }

    fn shape(&self, id: ContentId) -> Result<Shape, ContentError> {
        let path = self.place(id).join(SHAPE);
        let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        let (catalogue, length) = text.trim_end().split_once(' ').ok_or(ContentError::NotFound)?;
        match (catalogue.parse(), length.parse()) {
            (Ok(catalogue), Ok(length)) => Ok(Shape { catalogue, length }),
            _ => Err(ContentError::NotFound),
        }
    }

    fn place(&self, id: ContentId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

impl Shape {
    /// How it is cut into blocks; symbols play no part here.
    fn layout(self) -> Option<Layout> {
        Layout::new(self.catalogue, self.length, BLOCK_LOG2_MOST, SYMBOL_USUAL)
    }
}

/// Reads a catalogue, if it is the one of this name and shape.
fn decode(id: ContentId, shape: Shape, bytes: &[u8]) -> Option<Catalogue> {
    let manifest = Manifest {
        name: String::new(),
        version: 0,
        issued: 0,
        expires: 0,
        audience: [0; 16],
        length: shape.length,
        catalogue_length: shape.catalogue,
        catalogue: id.0,
        block_log2: BLOCK_LOG2_MOST,
    };
    Catalogue::decode(bytes, &manifest).ok()
}

fn failed(path: &Path, error: io::Error) -> ContentError {
    match error.kind() {
        io::ErrorKind::NotFound => ContentError::NotFound,
        _ => ContentError::Io { path: path.to_owned(), error },
    }
}

const FOLDER: &str = "objects";
const SHAPE: &str = "shape";
const CATALOGUE: &str = "catalogue";
const CATALOGUE_NEW: &str = "catalogue.new";
const CONTENT: &str = "content";
/// What stays free for the server's store, whatever is uploaded.
const RESERVE: u64 = 512 << 20;
/// Uploads that were begun and not distributed.
const UNFINISHED_LIMIT: usize = 16;
/// How long such a one is kept.
const UNFINISHED_LIFE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use klnet_multicast::catalogue::FileEntry;
    use klnet_multicast::path::ObjectPath;

    use super::*;

    #[test]
    fn blocks_are_taken_in_order_verified_and_given_back() {
        let (folder, content) = (tempfile::tempdir().unwrap(), Content::new());
        let contents = Contents::new(folder.path());
        assert_eq!(contents.begin(content.id, content.shape, kept).unwrap(), 0);
        assert!(matches!(contents.complete(content.id), Err(ContentError::NotFound)));
        for (block, bytes) in (0..).zip(&content.blocks) {
            let mut wrong = bytes.clone();
            wrong[0] ^= 1;
            assert!(matches!(contents.put(content.id, block, &wrong), Err(ContentError::Mismatch(_))));
            assert!(matches!(contents.put(content.id, block + 1, bytes), Err(ContentError::NotNext(_))));
            assert_eq!(contents.put(content.id, block, bytes).unwrap(), block + 1);
        }
        let (catalogue, shape) = contents.complete(content.id).unwrap();
        assert_eq!((&catalogue, shape), (&content.blocks[0], content.shape));
        assert_eq!(contents.block(content.id, 2).unwrap(), content.blocks[2]);
        assert!(matches!(contents.block(content.id, 3), Err(ContentError::NotFound)));
        contents.remove(content.id).unwrap();
        assert!(matches!(contents.block(content.id, 0), Err(ContentError::NotFound)));
    }

    #[test]
    fn an_upload_goes_on_where_it_was_cut_off() {
        let (folder, content) = (tempfile::tempdir().unwrap(), Content::new());
        let contents = Contents::new(folder.path());
        contents.begin(content.id, content.shape, kept).unwrap();
        contents.put(content.id, 0, &content.blocks[0]).unwrap();
        contents.put(content.id, 1, &content.blocks[1]).unwrap();
        // The server was killed in the middle of the next block.
        contents.write(content.id, 4 << 20, b"half").unwrap();
        let again = Contents::new(folder.path());
        assert_eq!(again.begin(content.id, content.shape, kept).unwrap(), 2);
        again.put(content.id, 2, &content.blocks[2]).unwrap();
        again.complete(content.id).unwrap();
    }

    #[test]
    fn what_was_damaged_on_the_disk_is_not_signed() {
        let (folder, content) = (tempfile::tempdir().unwrap(), Content::new());
        let contents = Contents::new(folder.path());
        contents.begin(content.id, content.shape, kept).unwrap();
        for (block, bytes) in (0..).zip(&content.blocks) {
            contents.put(content.id, block, bytes).unwrap();
        }
        let path = contents.place(content.id).join(CONTENT);
        let mut bytes = fs::read(&path).unwrap();
        bytes[5 << 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(contents.complete(content.id), Err(ContentError::Mismatch(2))));
    }

    #[test]
    fn absurd_lengths_and_too_many_uploads_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let contents = Contents::new(folder.path());
        let begin =
            |n, length| contents.begin(ContentId([n; 32]), Shape { catalogue: 100, length }, |_| false);
        assert!(matches!(begin(0, u64::MAX), Err(ContentError::Shape)));
        assert!(matches!(begin(0, 1 << 45), Err(ContentError::NoRoom { .. })));
        (0..16).for_each(|n| assert_eq!(begin(n, 1).unwrap(), 0));
        assert!(matches!(begin(99, 1), Err(ContentError::TooMany)));
        assert_eq!(begin(3, 1).unwrap(), 0, "one that is under way goes on");
    }

    fn kept(_: ContentId) -> bool {
        true
    }

    /// A file in two blocks.
    struct Content {
        id: ContentId,
        shape: Shape,
        blocks: Vec<Vec<u8>>,
    }

    impl Content {
        fn new() -> Self {
            let length = (4 << 20) + (2 << 20);
            let content: Vec<u8> = (0..length).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
            let blocks: Vec<_> = content.chunks(4 << 20).map(<[u8]>::to_vec).collect();
            let path = ObjectPath::try_from("image").unwrap();
            let files = vec![FileEntry { path, length: length.into(), executable: false }];
            let hashes = blocks.iter().map(|block| Catalogue::hash(block)).collect();
            let catalogue = Catalogue { files, hashes }.encode();
            let shape = Shape { catalogue: u32::try_from(catalogue.len()).unwrap(), length: length.into() };
            let id = ContentId(Catalogue::hash(&catalogue));
            Self { id, shape, blocks: [vec![catalogue], blocks].concat() }
        }
    }
}
