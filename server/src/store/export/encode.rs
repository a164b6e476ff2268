//! Writing an export.

use std::io::{self, Write};

use ring::digest::{self, SHA256};

use super::{END, ENTRY, HEADER, Header, MAGIC};
use crate::store::Batch;

/// Writes an export, batch by batch.
pub struct Encoder<W> {
    output: W,
    digest: digest::Context,
    entries: u64,
}

impl<W: Write> Encoder<W> {
    /// Begins an export.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(output: W, header: Header) -> io::Result<Self> {
        let mut encoder = Self { output, digest: digest::Context::new(&SHA256), entries: 0 };
        encoder.write(MAGIC)?;
        encoder.frame(HEADER, &[&header.incarnation.0, &header.at.0.to_be_bytes()])?;
        Ok(encoder)
    }

    /// Adds what is left of a commit; batches come in the order of their revisions.
    ///
    /// # Errors
    /// Those of the output.
    pub fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        for event in &batch.events {
            let Some(entry) = event.entry.as_ref().filter(|entry| entry.lease.is_none()) else { continue };
            let key = event.key.as_bytes();
            let length = u16::try_from(key.len()).map_err(io::Error::other)?;
            self.frame(ENTRY, &[&batch.rev.0.to_be_bytes(), &length.to_be_bytes(), key, &entry.value])?;
            self.entries += 1;
        }
        Ok(())
    }

    /// Ends the export, and says how many entries it has.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<u64> {
        let sum = self.digest.clone().finish();
        self.frame(END, &[&self.entries.to_be_bytes(), sum.as_ref()])?;
        self.output.flush()?;
        Ok(self.entries)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&length.to_be_bytes())?;
        self.write(&[kind])?;
        parts.iter().try_for_each(|part| self.write(part))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.output.write_all(bytes)
    }
}

impl<W> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("entries", &self.entries).finish_non_exhaustive()
    }
}
