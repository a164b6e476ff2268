//! Writes a snapshot in one pass: sorted records in, a signed file out, one segment in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;
use prost::Message as _;
use ring::digest::{SHA256, digest};

use super::manifest::{Manifest, Source, Space};
use super::part;
use super::reader::MAGIC;
use super::record::Record;
use super::segment::bits_for;
use crate::subject::Kind;

/// Writes a snapshot.
pub struct Writer<W> {
    output: W,
    spaces: Vec<Space>,
    /// Of the last space, encoded.
    segment: Vec<u8>,
    expected: BTreeMap<Kind, u64>,
}

impl<W: Write> Writer<W> {
    /// Begins a file that will have at most `expected` records of each kind.
    ///
    /// # Errors
    /// The output's.
    pub fn new(mut output: W, expected: BTreeMap<Kind, u64>) -> io::Result<Self> {
        output.write_all(MAGIC)?;
        Ok(Self { output, spaces: Vec::new(), segment: Vec::new(), expected })
    }

    /// Takes the next record: kinds and records come in order, one for each subject.
    ///
    /// # Errors
    /// The output's.
    pub fn push(&mut self, kind: Kind, record: &Record) -> io::Result<()> {
        if self.spaces.last().is_none_or(|space| space.kind != kind as u32) {
            self.end_space()?;
            let bits = bits_for(self.expected.get(&kind).copied().unwrap_or(0));
            self.spaces.push(Space { kind: kind as u32, bits, ..Space::default() });
        }
        let index = self.spaces.last().map_or(0, |space| space.index_of(record.bytes));
        self.end_segments_before(index)?;
        self.segment.extend_from_slice(&record.encode());
        Ok(())
    }

    /// Signs and writes the manifest, and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self, about: Manifest, key: &SigningKey) -> io::Result<(W, Manifest)> {
        self.end_space()?;
        let manifest = Manifest { spaces: self.spaces, ..about };
        let signed = key.sign(Context::ReputationSnapshot, Bytes::from(manifest.encode_to_vec()));
        let segments: usize = manifest.spaces.iter().map(|space| space.records.len()).sum();
        part::end(&mut self.output, &all_of(segments), &signed)?;
        Ok((self.output, manifest))
    }

    fn end_space(&mut self) -> io::Result<()> {
        let segments = self.spaces.last().map_or(0, |space| 1 << space.bits);
        self.end_segments_before(segments)
    }

    fn end_segments_before(&mut self, index: usize) -> io::Result<()> {
        let Some(space) = self.spaces.last_mut() else { return Ok(()) };
        while space.records.len() < index {
            self.output.write_all(&self.segment)?;
            space
                .records
                .push(u32::try_from(self.segment.as_chunks::<32>().0.len()).map_err(io::Error::other)?);
            space.digests.extend_from_slice(digest(&SHA256, &self.segment).as_ref());
            self.segment.clear();
        }
        Ok(())
    }
}

impl Manifest {
    /// What is said of a snapshot before its records are known.
    pub fn about(sequence: u64, created: u64, sources: Vec<Source>) -> Self {
        Self { sequence, created, sources, spaces: Vec::new() }
    }
}

/// A bit for each of so many segments.
fn all_of(segments: usize) -> Vec<u8> {
    let mut held = vec![0xff; segments / 8];
    if !segments.is_multiple_of(8) {
        held.push((1 << (segments % 8)) - 1);
    }
    held
}
