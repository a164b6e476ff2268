//! Tells one file from another of the same name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file's inode, size, and time in nanoseconds: another file in its place, or other content, has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileVersion {
    /// `None` when there is no such file, or it may not be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self { inode: about.ino(), size: about.size(), modified: (about.mtime(), about.mtime_nsec()) })
    }
}
