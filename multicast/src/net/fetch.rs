//! Fetches an object block by block from somewhere else than the group, with the verifier of the group.

use std::path::{Path, PathBuf};

use super::store::{Store, StoreError};
use super::versions::Versions;
use crate::manifest::Manifest;
use crate::path::RESERVED;

/// An object that is in its place.
#[derive(Debug)]
pub struct Fetched {
    /// Its catalogue, as it travels.
    pub catalogue: Vec<u8>,
    /// Where its files are.
    pub paths: Vec<PathBuf>,
    /// Bytes that were fetched, the catalogue's among them; the others were there.
    pub bytes: u64,
}

/// Why an object was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError<E> {
    /// A block was not given.
    #[error("block {block}: {error}")]
    Source {
        /// Which block.
        block: u32,
        /// Why.
        error: E,
    },
    /// A block is not what was signed.
    #[error("block {0} is not what was signed")]
    Mismatch(u32),
    /// The folder had a newer one.
    #[error("a newer version was received before")]
    Older,
    /// The folder does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts an object into `folder`, whose verified blocks stay; `give` is asked for those that are missing. Nothing else may
/// put the same object into the folder meanwhile.
///
/// # Errors
/// [`FetchError`]; what was verified is there the next time.
pub fn fetch<E>(
    folder: &Path,
    manifest: &Manifest,
    mut give: impl FnMut(u32) -> Result<Vec<u8>, E>,
) -> Result<Fetched, FetchError<E>> {
    let path = folder.join(RESERVED).join("versions");
    let failed = |error| StoreError::Io { path: path.clone(), error };
    std::fs::create_dir_all(folder.join(RESERVED)).map_err(failed)?;
    let mut versions = Versions::open(path.clone()).map_err(failed)?;
    if !versions.accept(manifest) {
        return Err(FetchError::Older);
    }
    let mut store = Store::new(folder, manifest.clone());
    let mut give = |block| give(block).map_err(|error| FetchError::Source { block, error });
    let mut bytes = 0;
    let (catalogue, there) = match store.kept_catalogue() {
        Some(kept) => kept,
        None => {
            let catalogue = give(0)?;
            bytes += catalogue.len() as u64;
            if !store.fits(0, &catalogue) {
                return Err(FetchError::Mismatch(0));
            }
            let there = store.take_catalogue(&catalogue)?;
            (catalogue, there)
        }
    };
    let blocks = u32::try_from(manifest.length.div_ceil(1 << manifest.block_log2)).unwrap_or(u32::MAX);
    for block in (1..=blocks).filter(|block| !there.contains(block)) {
        let content = give(block)?;
        bytes += content.len() as u64;
        if !store.fits(block, &content) {
            return Err(FetchError::Mismatch(block));
        }
        store.write(block, &content)?;
    }
    let paths = store.finish()?;
    versions.note(manifest).map_err(failed)?;
    Ok(Fetched { catalogue, paths, bytes })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use klnet_wire::signing::SigningKey;

    use super::*;
    use crate::net::Object;

    #[test]
    fn an_object_is_fetched_verified_and_nothing_that_is_there_twice() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content: Vec<u8> = (0..9_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let path = from.path().join("image");
        fs::write(&path, &content).unwrap();
        let object = Object::from_paths(&[path], &SigningKey::generate_ed25519()).unwrap();
        let mut asked = Vec::new();
        let broken = fetch(to.path(), &object.manifest, |block| {
            asked.push(block);
            if block == 2 { Err("cut off") } else { Ok(block_of(&object, block)) }
        });
        assert!(matches!(broken, Err(FetchError::Source { block: 2, .. })));
        assert!(!to.path().join("image").exists(), "nothing has its name before all is there");
        let forged = fetch(to.path(), &object.manifest, |block| {
            Ok::<_, &str>(vec![0; block_of(&object, block).len()])
        });
        assert!(matches!(forged, Err(FetchError::Mismatch(2))));
        let fetched = fetch(to.path(), &object.manifest, |block| {
            asked.push(block);
            Ok::<_, &str>(block_of(&object, block))
        });
        assert_eq!(asked, [0, 1, 2, 2, 3]);
        assert_eq!(fs::read(&fetched.unwrap().paths[0]).unwrap(), content);
    }

    #[test]
    fn an_object_that_is_in_its_place_costs_its_catalogue() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = from.path().join("image");
        fs::write(&path, b"hello").unwrap();
        let object = Object::from_paths(&[path], &SigningKey::generate_ed25519()).unwrap();
        let get =
            || fetch(to.path(), &object.manifest, |block| Ok::<_, &str>(block_of(&object, block))).unwrap();
        let (first, again) = (get(), get());
        assert_eq!((first.bytes - again.bytes, &first.catalogue), (5, &again.catalogue));
    }

    fn block_of(object: &Object, block: u32) -> Vec<u8> {
        let mut bytes = object.catalogue().to_vec();
        if block > 0 {
            object.read_block(block, &mut bytes).unwrap();
        }
        bytes
    }
}
