//! How far the reading of a feed is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Is told how many bytes of a feed were read, now and then.
pub type Progress<'a> = &'a dyn Fn(u64);

/// A file whose reader is told how far it is.
pub(super) struct Counted<'a> {
    input: File,
    read: u64,
    progress: Progress<'a>,
}

impl<'a> Counted<'a> {
    pub(super) fn new(input: File, progress: Progress<'a>) -> Self {
        Self { input, read: 0, progress }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.read = self.input.seek(to)?;
        Ok(self.read)
    }
}
