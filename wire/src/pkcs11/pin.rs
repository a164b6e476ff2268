//! The PIN: a file that its owner alone may read, read at each login, and never shown to a token that has refused it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::identity::secret_file::{others_may_read, write_secret};
use crate::signing::KeyError;

/// A PIN, and which state of its file it is.
pub(super) struct Pin {
    pub(super) secret: AuthPin,
    pub(super) stamp: Stamp,
}

/// A file's time and length: whoever corrects the PIN changes them, and they tell nothing about it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stamp(String);

/// The PIN that a token has refused, across processes.
pub(super) struct Refused {
    /// Where its stamp is written down.
    file: PathBuf,
    /// Also remembered here, for a disk that is full.
    last: Option<Stamp>,
}

impl Pin {
    /// Reads the PIN: the file's text, without the line's end.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let bad = |reason: String| KeyError::PinFile { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| bad(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| bad(error.to_string()))?;
        if !metadata.is_file() {
            return Err(bad("it is not a file".into()));
        }
        if others_may_read(&metadata) {
            return Err(bad(format!("others may read it; run: chmod 600 {}", path.display())));
        }
        // With room for all of it no other copy is left behind.
        let mut text = Zeroizing::new(Vec::with_capacity(PIN_LIMIT + 64));
        let read = file.take(PIN_LIMIT as u64 + 1).read_to_end(&mut text);
        read.map_err(|error| bad(error.to_string()))?;
        if text.len() > PIN_LIMIT {
            return Err(bad(format!("it is longer than {PIN_LIMIT} bytes")));
        }
        let text = std::str::from_utf8(&text).map_err(|_| bad("it is not UTF-8".into()))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(bad("it is empty".into())),
            pin => Ok(Self { secret: AuthPin::new(pin.into()), stamp: Stamp::of(&metadata) }),
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self(format!("{} {}\n", changed.unwrap_or_default().as_nanos(), metadata.len()))
    }
}

impl Refused {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, last: None }
    }

    /// Whether it was this one. A note that cannot be read counts as one.
    pub(super) fn is(&self, stamp: &Stamp) -> bool {
        self.last.as_ref() == Some(stamp)
            || match fs::read_to_string(&self.file) {
                Ok(noted) => noted == stamp.0,
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            }
    }

    pub(super) fn note(&mut self, stamp: Stamp) {
        if let Err(error) = write_secret(&self.file, stamp.0.as_bytes()) {
            tracing::warn!(%error, "it is not written down that the PIN was refused");
        }
        self.last = Some(stamp);
    }

    /// The PIN was good.
    pub(super) fn forget(&mut self) {
        self.last = None;
        // One that stays is about another state of the file.
        let _ = fs::remove_file(&self.file);
    }
}

/// Longest PIN that is read, in bytes.
const PIN_LIMIT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_files_line() {
        let place = tempfile::tempdir().unwrap();
        for (text, reason) in [("", "empty"), ("\n", "empty"), (&*"1".repeat(257), "longer than 256")] {
            let error = pin(&place, text, 0o600).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(pin(&place, "12 34\n", 0o600).is_ok());
        let error = pin(&place, "1234", 0o640).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_pin_never_prints_itself() {
        let place = tempfile::tempdir().unwrap();
        let pin = pin(&place, "canary", 0o600).ok().unwrap();
        assert!(!format!("{:?}", pin.secret).contains("canary"));
    }

    #[test]
    fn a_refused_pin_is_remembered_until_its_file_changes() {
        let place = tempfile::tempdir().unwrap();
        let note = place.path().join("pin.refused");
        let stamp = pin(&place, "1234", 0o600).ok().unwrap().stamp;
        let mut refused = Refused::new(note.clone());
        assert!(!refused.is(&stamp));
        refused.note(stamp.clone());
        assert!(refused.is(&stamp) && Refused::new(note.clone()).is(&stamp), "also in another process");
        assert!(!fs::read_to_string(&note).unwrap().contains("1234"));
        let corrected = pin(&place, "12345", 0o600).ok().unwrap().stamp;
        assert!(!Refused::new(note.clone()).is(&corrected));
        refused.forget();
        assert!(!note.exists() && !refused.is(&stamp));
    }

    #[test]
    fn on_a_full_disk_it_is_remembered_by_the_process() {
        let place = tempfile::tempdir().unwrap();
        let stamp = pin(&place, "1234", 0o600).ok().unwrap().stamp;
        let mut refused = Refused::new("/proc/no/folder".into());
        assert!(!refused.is(&stamp));
        refused.note(stamp.clone());
        assert!(refused.is(&stamp));
    }

    fn pin(place: &tempfile::TempDir, text: &str, mode: u32) -> Result<Pin, KeyError> {
        let path = place.path().join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        Pin::read(&path)
    }
}
