//! The newest version of each name that is in a folder: what is older is not taken.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;

/// The versions in a folder, and the file that has them.
#[derive(Debug)]
pub(super) struct Versions {
    path: PathBuf,
    newest: BTreeMap<String, u64>,
}

impl Versions {
    /// Reads the file; there need be none.
    ///
    /// # Errors
    /// What the system says, or that the file is none of ours: guessing would let older objects in.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let newest = text.lines().map(|line| {
            let (version, name) = line.split_once(' ')?;
            Some((name.to_owned(), version.parse().ok()?))
        });
        let newest = newest.collect::<Option<_>>();
        let newest =
            newest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a list of versions"))?;
        Ok(Self { path, newest })
    }

    /// Whether an object is not older than what was there before.
    pub(super) fn accept(&self, manifest: &Manifest) -> bool {
        self.newest.get(&manifest.name).is_none_or(|newest| manifest.version >= *newest)
    }

    /// Notes that an object is there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn note(&mut self, manifest: &Manifest) -> io::Result<()> {
        if !self.newest.contains_key(&manifest.name) && self.newest.len() >= NAMES_LIMIT {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many names in one folder"));
        }
        let newest = self.newest.entry(manifest.name.clone()).or_default();
        *newest = manifest.version.max(*newest);
        let lines = self.newest.iter().map(|(name, version)| format!("{version} {name}\n"));
        replace(&self.path, lines.collect::<String>().as_bytes())
    }
}

/// Writes a file so that after a crash it is either the old or the new one, whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, path)
}

/// Names in one folder.
const NAMES_LIMIT: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::sample;

    #[test]
    fn what_is_older_is_not_taken_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versions");
        let of = |version| Manifest { version, ..sample() };
        Versions::open(path.clone()).unwrap().note(&of(7)).unwrap();
        let mut versions = Versions::open(path.clone()).unwrap();
        assert!(!versions.accept(&of(6)) && versions.accept(&of(7)) && versions.accept(&of(8)));
        assert!(versions.accept(&Manifest { name: "another".to_owned(), ..of(1) }));
        versions.note(&of(3)).unwrap();
        assert!(!Versions::open(path.clone()).unwrap().accept(&of(6)), "it never falls");
        fs::write(&path, "what").unwrap();
        assert!(Versions::open(path).is_err());
    }
}
