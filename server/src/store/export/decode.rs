//! Reading an export, of which no byte is believed.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use ring::digest::{self, SHA256};

use super::{END, ENTRY, Exported, HEADER, Header, MAGIC};
use crate::store::{CommitError, Incarnation, Key, KeyError, Limits, Rev};

/// Reads an export, entry by entry, in bounded memory.
pub struct Decoder<R> {
    input: R,
    digest: digest::Context,
    header: Header,
    entries: u64,
    /// The last entry's commit, and how many entries it had.
    last: (Rev, usize),
    ended: bool,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Something else, or of a later version.
    #[error("not an export of a klnet store, or of a later version")]
    NotAnExport,
    /// It ends before its end.
    #[error("the export is cut off after {entries} entries")]
    CutOff {
        /// Whole entries before that.
        entries: u64,
    },
    /// A part is longer than anything that is exported.
    #[error("part of {length} bytes exceeds the limit of {limit}", limit = FRAME_LIMIT)]
    TooLong {
        /// What it says.
        length: u32,
    },
    /// A part is not what should come there.
    #[error("entry {entry} of the export: {what}")]
    Malformed {
        /// Which one, counted from 0.
        entry: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key is not one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Some byte has changed.
    #[error("the export does not match its checksum")]
    Checksum,
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The store does not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl<R: Read> Decoder<R> {
    /// Reads the beginning of an export.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn new(input: R) -> Result<Self, ImportError> {
        let header = Header { incarnation: Incarnation([0; 16]), at: Rev::ZERO };
        let digest = digest::Context::new(&SHA256);
        let mut decoder = Self { input, digest, header, entries: 0, last: (Rev::ZERO, 0), ended: false };
        let mut magic = [0; MAGIC.len()];
        decoder.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(ImportError::NotAnExport);
        }
        decoder.header = decoder.read_header()?;
        Ok(decoder)
    }

    /// Whose history it is, and at which revision.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The next entry; `None` once the whole export was read and is good.
    ///
    /// # Errors
    /// [`ImportError`].
    #[allow(clippy::should_implement_trait)] // an iterator could be stopped before the end is checked
    pub fn next(&mut self) -> Result<Option<Exported>, ImportError> {
        if self.ended {
            return Ok(None);
        }
        let before = self.digest.clone();
        let (kind, payload) = self.frame()?;
        match kind {
            ENTRY => self.entry(payload).map(Some),
            END => self.end(payload, before).map(|()| None),
            _ => Err(self.malformed("neither an entry nor the end")),
        }
    }

    fn read_header(&mut self) -> Result<Header, ImportError> {
        let (kind, mut payload) = self.frame()?;
        let mut incarnation = [0; 16];
        if kind != HEADER || payload.len() != incarnation.len() + 8 {
            return Err(ImportError::NotAnExport);
        }
        payload.copy_to_slice(&mut incarnation);
        Ok(Header { incarnation: Incarnation(incarnation), at: Rev(payload.get_u64()) })
    }

    fn entry(&mut self, mut payload: Bytes) -> Result<Exported, ImportError> {
        if payload.len() < ENTRY_HEAD {
            return Err(self.malformed("too short"));
        }
        let (mod_rev, length) = (Rev(payload.get_u64()), usize::from(payload.get_u16()));
        if payload.len() < length || payload.len() - length > Limits::COMMON.value {
            return Err(self.malformed("a key or value of another length"));
        }
        let key = Key::new(payload.split_to(length))?;
        self.last = match self.last {
            (last, count) if last == mod_rev => (last, count + 1),
            (last, _) if mod_rev < last => return Err(self.malformed("out of order")),
            _ => (mod_rev, 1),
        };
        if mod_rev > self.header.at || self.last.1 > Limits::COMMON.ops {
            return Err(self.malformed("of no commit"));
        }
        self.entries += 1;
        Ok(Exported { mod_rev, key, value: payload })
    }

    fn end(&mut self, mut payload: Bytes, before: digest::Context) -> Result<(), ImportError> {
        if payload.len() != 8 + digest::SHA256_OUTPUT_LEN {
            return Err(self.malformed("an end of another length"));
        }
        let entries = payload.get_u64();
        if entries != self.entries || before.finish().as_ref() != &payload[..] {
            return Err(ImportError::Checksum);
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(self.malformed("something follows the end"));
        }
        self.ended = true;
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, Bytes), ImportError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [a, b, c, d, kind] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > FRAME_LIMIT {
            return Err(ImportError::TooLong { length });
        }
        // Within the limit, which is no more than an entry may have.
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        Ok((kind, payload.into()))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ImportError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::CutOff { entries: self.entries },
            _ => error.into(),
        })?;
        self.digest.update(buffer);
        Ok(())
    }

    const fn malformed(&self, what: &'static str) -> ImportError {
        ImportError::Malformed { entry: self.entries, what }
    }
}

impl<R> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Revision and length of the key.
const ENTRY_HEAD: usize = 10;

/// The longest entry.
const FRAME_LIMIT: u32 = 10 + 512 + (256 << 10);
