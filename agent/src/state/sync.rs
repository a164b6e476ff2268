//! The ids exchanged with the server, by which it notices that this disk was set back or copied.

use bytes::Bytes;
use klnet_wire::id::Id;

use super::{Folder, StateError};

/// What is stored: the id that the server has, and the one to be said next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sync {
    /// Both ends have stored it; empty before the first time.
    pub last: Bytes,
    /// Drawn and stored before the server hears it.
    pub next: Bytes,
}

impl Sync {
    /// What to store once the server has stored `next`.
    #[must_use]
    pub fn advanced(self) -> Self {
        Self { last: self.next, next: fresh() }
    }
}

impl Folder {
    /// The ids that are stored; what is missing or damaged is begun anew, which the server notices.
    ///
    /// # Errors
    /// [`StateError::Io`] when a new one cannot be stored.
    pub fn sync(&self) -> Result<Sync, StateError> {
        if let Some(stored) = self.read_bytes(SYNC).and_then(|stored| decode(&stored)) {
            return Ok(stored);
        }
        let sync = Sync { last: Bytes::new(), next: fresh() };
        self.save_sync(&sync)?;
        Ok(sync)
    }

    /// Stores the ids.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_sync(&self, sync: &Sync) -> Result<(), StateError> {
        self.write(SYNC, &[&sync.next[..], &sync.last[..]].concat())
    }
}

fn decode(stored: &[u8]) -> Option<Sync> {
    let (next, last) = stored.split_at_checked(ID_LEN)?;
    matches!(last.len(), 0 | ID_LEN)
        .then(|| Sync { last: Bytes::copy_from_slice(last), next: Bytes::copy_from_slice(next) })
}

fn fresh() -> Bytes {
    Bytes::copy_from_slice(Id::<()>::random().as_bytes())
}

/// The file: the next id, then the last.
pub(super) const SYNC: &str = "sync.id";
const ID_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stored_before_they_are_said_and_advance_when_the_server_has_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let first = folder.sync().unwrap();
        assert_eq!((first.last.len(), folder.sync().unwrap()), (0, first.clone()));
        let second = first.clone().advanced();
        folder.save_sync(&second).unwrap();
        assert_eq!(second.last, first.next);
        assert_eq!(folder.sync().unwrap(), second);
    }

    #[test]
    fn a_damaged_file_begins_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        folder.write(SYNC, b"half an id").unwrap();
        let begun = folder.sync().unwrap();
        assert_eq!((begun.last.len(), begun.next.len()), (0, ID_LEN));
    }
}
