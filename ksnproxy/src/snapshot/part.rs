//! Writes the snapshot that a proxy replicates, or the part of it that was asked for.
//!
//! A proxy asks for the signed manifest first, chooses segments ([`super::segments_of`] or all of them) and asks for
//! each in order; whatever comes is written only when it is what was signed.

use std::io::Write;

use klnet_wire::signed::{PublicKey, Signed};
use prost::Message as _;

use super::manifest::Manifest;
use super::reader::{MAGIC, SnapshotError, verify_manifest, verify_segment};
use super::segment::SegmentId;

/// A snapshot of which segments come one after the other.
pub struct Part<W> {
    output: W,
    signed: Signed,
    manifest: Manifest,
    held: Vec<u8>,
    next: usize,
}

impl<W: Write> Part<W> {
    /// Begins with a manifest that came from somewhere.
    ///
    /// # Errors
    /// [`SnapshotError`] when none of `trusted` signed it.
    pub fn new(mut output: W, signed: Signed, trusted: &[PublicKey]) -> Result<Self, SnapshotError> {
        let manifest = verify_manifest(&signed, trusted)?;
        output.write_all(MAGIC)?;
        let held = vec![0; manifest.segments().count().div_ceil(8)];
        Ok(Self { output, signed, manifest, held, next: 0 })
    }

    /// What the whole snapshot consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes a segment; they come in the order of the manifest.
    ///
    /// # Errors
    /// [`SnapshotError::Segment`] when it is not what was signed or comes too late.
    pub fn push(&mut self, segment: &SegmentId, bytes: &[u8]) -> Result<(), SnapshotError> {
        let held = self.held.get_mut(segment.ordinal / 8).filter(|_| segment.ordinal >= self.next);
        let sound = verify_segment(&self.manifest, segment, bytes);
        let Some(held) = held.filter(|_| sound) else {
            return Err(SnapshotError::Segment { kind: segment.kind, index: segment.index });
        };
        self.output.write_all(bytes)?;
        *held |= 1 << (segment.ordinal % 8);
        self.next = segment.ordinal + 1;
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self) -> Result<W, SnapshotError> {
        end(&mut self.output, &self.held, &self.signed)?;
        Ok(self.output)
    }
}

/// What follows the segments of a file.
pub(super) fn end(output: &mut impl Write, held: &[u8], signed: &Signed) -> std::io::Result<()> {
    let signed = signed.encode_to_vec();
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_be_bytes).map_err(std::io::Error::other);
    output.write_all(held)?;
    output.write_all(&signed)?;
    output.write_all(&length(held)?)?;
    output.write_all(&length(&signed)?)?;
    output.write_all(MAGIC)
}
