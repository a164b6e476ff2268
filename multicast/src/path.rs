//! Paths inside an object: they cannot leave the folder an object is received into.

use std::fmt;
use std::path::PathBuf;

/// A relative path that means the same on every system: `/` between parts, nothing that climbs, hides or is a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

/// A path that an object may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {0:?} may not be in an object")]
pub struct BadPath(pub String);

impl ObjectPath {
    /// The path as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below a folder of this system.
    pub fn below(&self, folder: &std::path::Path) -> PathBuf {
        self.0.split('/').fold(folder.to_owned(), |path, part| path.join(part))
    }

    /// Whether `self` would have to be a folder for `other` to be a file.
    pub fn is_folder_of(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl TryFrom<&str> for ObjectPath {
    type Error = BadPath;

    fn try_from(path: &str) -> Result<Self, BadPath> {
        let sound = path.len() <= PATH_LIMIT && path.split('/').all(is_sound);
        if sound { Ok(Self(path.to_owned())) } else { Err(BadPath(path.to_owned())) }
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_sound(part: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "\\:*?\"<>|".contains(c);
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or(stem.strip_prefix("LPT"));
    let device = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || numbered.is_some_and(|number| number.chars().count() == 1);
    // `.` and `..` end in a dot. Ours begins what belongs to the receiver itself.
    !part.is_empty()
        && part.len() <= PART_LIMIT
        && !part.ends_with(['.', ' '])
        && !part.contains(forbidden)
        && !device
        && !part.starts_with(RESERVED)
}

/// Bytes of the longest path.
pub const PATH_LIMIT: usize = 1024;
/// Bytes of the longest part: what file systems take, less room for a suffix.
const PART_LIMIT: usize = 240;
/// How a receiver's own names begin.
pub const RESERVED: &str = ".klcast";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_are_taken() {
        for path in ["a", "a/b/c.txt", ".hidden", "a b/ü.iso", "console.log", "com/x", "a..b"] {
            assert_eq!(ObjectPath::try_from(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn paths_that_leave_or_surprise_are_refused() {
        let long = "x".repeat(241);
        let bad = [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/.",
            "a\\b",
            "c:",
            "c:/x",
            "a\0",
            "a\nb",
            "nul",
            "NUL.txt",
            "com1",
            "Lpt9.x",
            "a ",
            "a.",
            "a/..",
            "x?",
            ".klcast",
            ".klcast-1/x",
            &long,
        ];
        for path in bad {
            assert!(ObjectPath::try_from(path).is_err(), "{path:?}");
        }
        assert!(ObjectPath::try_from("a/".repeat(600).trim_end_matches('/')).is_err());
    }

    #[test]
    fn a_folder_is_told_from_a_name_that_begins_alike() {
        let path = |path| ObjectPath::try_from(path).unwrap();
        assert!(path("a").is_folder_of(&path("a/b")));
        assert!(!path("a").is_folder_of(&path("ab")));
        assert!(!path("a").is_folder_of(&path("a")));
    }
}
