//! Lines of a feed, without a copy and without a line that fills memory.

use std::io::{self, Read};

use super::error::{FeedError, Reason};

/// Lines of an input.
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    number: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER], begin: 0, end: 0, number: 0, ended: false }
    }

    /// The next line and its number, without its end; CRLF ends one as LF does.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, FeedError> {
        let (begin, end) = loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[self.begin..self.end]) {
                let begin = self.begin;
                self.begin += length + 1;
                break (begin, begin + length);
            }
            if self.end - self.begin > LINE_MOST {
                return Err(Reason::LineLength(LINE_MOST).at(self.number + 1));
            }
            if self.ended {
                let begin = std::mem::replace(&mut self.begin, self.end);
                if begin == self.end {
                    return Ok(None);
                }
                break (begin, self.end);
            }
            self.fill().map_err(FeedError::Read)?;
        };
        self.number += 1;
        let mut line = &self.buffer[begin..end];
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        Ok(Some((self.number, line.strip_suffix(b"\r").unwrap_or(line))))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        match self.input.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(read) => self.end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The longest line that is taken: rows with a file name or a tag list of kilobytes were seen, none of ten.
pub(super) const LINE_MOST: usize = 64 * 1024;

/// Several lines of the longest.
const BUFFER: usize = 256 * 1024;
