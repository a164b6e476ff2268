//! The catalogue: which files an object has, and the hash of every block.

use std::collections::BTreeSet;

use bytes::BufMut;

use crate::layout::CATALOGUE_LIMIT;
use crate::manifest::Manifest;
use crate::path::ObjectPath;
use crate::reader::{Malformed, Reader};

/// The files of an object in the order of their bytes, and its blocks' hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    /// The files.
    pub files: Vec<FileEntry>,
    /// BLAKE3 hash of each content block.
    pub hashes: Vec<[u8; 32]>,
}

/// A file of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it belongs.
    pub path: ObjectPath,
    /// Its bytes.
    pub length: u64,
    /// Whether its owner may run it.
    pub executable: bool,
}

impl Catalogue {
    /// The bytes that travel as block 0.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.files.len() * 64 + self.hashes.len() * 32);
        bytes.put_u32(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        for file in &self.files {
            bytes.put_u8(u8::from(file.executable));
            bytes.put_u64(file.length);
            bytes.put_u16(u16::try_from(file.path.as_str().len()).unwrap_or(u16::MAX));
            bytes.put_slice(file.path.as_str().as_bytes());
        }
        self.hashes.iter().for_each(|hash| bytes.put_slice(hash));
        bytes
    }

    /// Reads the catalogue a manifest speaks of.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not those, or say what an object may not have.
    pub fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, Malformed> {
        if bytes.len() > CATALOGUE_LIMIT as usize || Self::hash(bytes) != manifest.catalogue {
            return Err(Malformed);
        }
        let mut reader = Reader::new(bytes);
        let count = reader.u32()?;
        let mut files = Vec::new();
        for _ in 0..count {
            files.push(file(&mut reader)?);
        }
        let mut hashes = Vec::with_capacity(reader.left() / 32);
        while reader.left() > 0 {
            hashes.push(reader.array()?);
        }
        let catalogue = Self { files, hashes };
        if catalogue.fits(manifest) { Ok(catalogue) } else { Err(Malformed) }
    }

    /// What a manifest says of a catalogue's bytes.
    pub fn hash(bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(bytes).as_bytes()
    }

    fn fits(&self, manifest: &Manifest) -> bool {
        let total = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.length));
        let blocks = manifest.length.div_ceil(1 << manifest.block_log2);
        total == Some(manifest.length) && self.hashes.len() as u64 == blocks && self.paths_are_apart()
    }

    /// No path twice, in any spelling of case, and none that another needs as a folder.
    fn paths_are_apart(&self) -> bool {
        let paths: BTreeSet<String> =
            self.files.iter().map(|file| file.path.as_str().to_lowercase()).collect();
        let is_folder = |path: &str| paths.range(format!("{path}/")..format!("{path}0")).next().is_some();
        paths.len() == self.files.len() && !paths.iter().any(|path| is_folder(path))
    }
}

fn file(reader: &mut Reader<'_>) -> Result<FileEntry, Malformed> {
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(Malformed);
    }
    let length = reader.u64()?;
    let path = usize::from(reader.u16()?);
    let path = ObjectPath::try_from(reader.text(path, crate::path::PATH_LIMIT)?).map_err(|_| Malformed)?;
    Ok(FileEntry { path, length, executable: flags == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::sample;

    #[test]
    fn a_catalogue_survives_the_wire() {
        let catalogue = two_files("a/b", "a/c");
        let bytes = catalogue.encode();
        let manifest = of(&bytes);
        assert_eq!(Catalogue::decode(&bytes, &manifest), Ok(catalogue));
        for cut in 0..bytes.len() {
            assert_eq!(Catalogue::decode(&bytes[..cut], &manifest), Err(Malformed));
            assert!(Catalogue::decode(&bytes[..cut], &of(&bytes[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn paths_that_clash_are_refused() {
        for (one, other) in [("a", "a"), ("a", "A"), ("a", "a/b"), ("x/y", "x/Y/z")] {
            let bytes = two_files(one, other).encode();
            assert_eq!(Catalogue::decode(&bytes, &of(&bytes)), Err(Malformed), "{one} {other}");
        }
        let bytes = two_files("a", "a-b").encode();
        assert!(Catalogue::decode(&bytes, &of(&bytes)).is_ok());
    }

    #[test]
    fn a_catalogue_of_another_length_is_refused() {
        let mut catalogue = two_files("a", "b");
        catalogue.hashes.push([0; 32]);
        let bytes = catalogue.encode();
        assert!(Catalogue::decode(&bytes, &of(&bytes)).is_err(), "a block too many");
        let mut catalogue = two_files("a", "b");
        catalogue.files[0].length = u64::MAX;
        let bytes = catalogue.encode();
        assert!(Catalogue::decode(&bytes, &of(&bytes)).is_err(), "more bytes than there are");
    }

    fn two_files(one: &str, other: &str) -> Catalogue {
        let file = |path: &str, length| FileEntry {
            path: ObjectPath::try_from(path).unwrap(),
            length,
            executable: false,
        };
        Catalogue { files: vec![file(one, 4 << 20), file(other, 1 << 20)], hashes: vec![[1; 32], [2; 32]] }
    }

    fn of(bytes: &[u8]) -> Manifest {
        Manifest {
            catalogue: Catalogue::hash(bytes),
            catalogue_length: u32::try_from(bytes.len()).unwrap(),
            ..sample()
        }
    }
}
