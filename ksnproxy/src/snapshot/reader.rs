//! A snapshot in a file, read in order or by segment, every byte of it verified.

use std::io::{self, Read, Seek, SeekFrom};

use klnet_wire::signed::{Context, PublicKey, Signed};
use prost::Message as _;
use ring::digest::{SHA256, digest};

use super::manifest::{MANIFEST_MOST, Manifest};
use super::memory::zeroed;
use super::record::{RECORD_LENGTH, Record};
use super::segment::SegmentId;
use crate::subject::Kind;

/// A file that is no snapshot, or not the one that was signed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file could not be read.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] io::Error),
    /// Magic or lengths are wrong: another file, or one that was cut off.
    #[error("no snapshot, or one that was cut off")]
    Framing,
    /// The manifest says what cannot be.
    #[error("the manifest of the snapshot is damaged")]
    Manifest,
    /// None of the keys signed it.
    #[error("the snapshot was signed by no key that is trusted here")]
    Signature,
    /// A segment is not the one that was signed.
    #[error("segment {index} of {kind:?} is damaged")]
    Segment {
        /// Its key space.
        kind: Kind,
        /// Its number there.
        index: usize,
    },
}

/// An open snapshot whose manifest is verified.
pub struct Reader<R> {
    source: R,
    signed: Signed,
    manifest: Manifest,
    /// Where each segment begins that this file holds, by its place among all.
    places: Vec<Option<u64>>,
    body: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Verifies the manifest, which one of `trusted` must have signed.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is damaged, cut off, or signed by another.
    pub fn open(mut source: R, trusted: &[PublicKey]) -> Result<Self, SnapshotError> {
        let length = source.seek(SeekFrom::End(0))?;
        let trailer_at = length.checked_sub(TRAILER as u64).ok_or(SnapshotError::Framing)?;
        source.seek(SeekFrom::Start(trailer_at))?;
        let mut trailer = [0; TRAILER];
        source.read_exact(&mut trailer)?;
        let [h0, h1, h2, h3, s0, s1, s2, s3, magic @ ..] = trailer;
        let held_length = u32::from_be_bytes([h0, h1, h2, h3]);
        let signed_length = u32::from_be_bytes([s0, s1, s2, s3]);
        let tail = u64::from(held_length) + u64::from(signed_length);
        let body = trailer_at.checked_sub(tail).and_then(|end| end.checked_sub(MAGIC.len() as u64));
        let body = body.filter(|_| &magic == MAGIC && tail <= TAIL_MOST).ok_or(SnapshotError::Framing)?;
        source.seek(SeekFrom::Start(MAGIC.len() as u64 + body))?;
        let mut tail = vec![0; usize::try_from(tail).map_err(|_| SnapshotError::Framing)?];
        source.read_exact(&mut tail)?;
        let (held, signed) = tail.split_at(held_length as usize);
        let signed = Signed::decode(signed).map_err(|_| SnapshotError::Manifest)?;
        let manifest = verify_manifest(&signed, trusted)?;
        let (places, expected) = places(&manifest, held).ok_or(SnapshotError::Manifest)?;
        if expected != body {
            return Err(SnapshotError::Framing);
        }
        Ok(Self { source, signed, manifest, places, body })
    }

    /// Reads a segment; `None` when this file does not hold it.
    ///
    /// # Errors
    /// [`SnapshotError`] when it cannot be read, or is damaged.
    pub fn segment(&mut self, segment: &SegmentId) -> Result<Option<Vec<u8>>, SnapshotError> {
        let Some(place) = self.places.get(segment.ordinal).copied().flatten() else { return Ok(None) };
        self.source.seek(SeekFrom::Start(place))?;
        let damaged = SnapshotError::Segment { kind: segment.kind, index: segment.index };
        let Ok(length) = usize::try_from(segment.length()) else { return Err(damaged) };
        let mut bytes = vec![0; length]; // no longer than the file is: `open` has compared them
        self.source.read_exact(&mut bytes)?;
        if verify_segment(&self.manifest, segment, &bytes) { Ok(Some(bytes)) } else { Err(damaged) }
    }

    /// Every segment that is held, one after the other and verified, and where each begins.
    pub(super) fn whole(&mut self) -> Result<(Vec<u8>, Vec<Option<usize>>), SnapshotError> {
        self.source.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        let mut body = zeroed(usize::try_from(self.body).map_err(|_| SnapshotError::Framing)?);
        self.source.read_exact(&mut body)?;
        let mut begins = Vec::with_capacity(self.places.len());
        let mut rest = &body[..];
        for segment in self.manifest.segments() {
            if self.places[segment.ordinal].is_none() {
                begins.push(None);
                continue;
            }
            let damaged = SnapshotError::Segment { kind: segment.kind, index: segment.index };
            let length = usize::try_from(segment.length()).ok().filter(|length| *length <= rest.len());
            let Some((bytes, after)) = length.map(|length| rest.split_at(length)) else {
                return Err(damaged);
            };
            if !verify_segment(&self.manifest, &segment, bytes) {
                return Err(damaged);
            }
            begins.push(Some(body.len() - rest.len()));
            rest = after;
        }
        Ok((body, begins))
    }

    /// Every record in order; what follows a damaged segment is not given.
    pub fn records(mut self) -> impl Iterator<Item = Result<(Kind, Record), SnapshotError>> {
        let mut segments = self.manifest.segments().collect::<Vec<_>>().into_iter();
        let mut here = (Kind::FileSha256, Vec::new().into_iter());
        let mut failed = false;
        std::iter::from_fn(move || {
            loop {
                if let Some(record) = here.1.next() {
                    return Some(Ok((here.0, record)));
                }
                let segment = segments.next().filter(|_| !failed)?;
                match self.segment(&segment) {
                    Ok(bytes) => {
                        let (records, _) = bytes.as_deref().unwrap_or_default().as_chunks::<RECORD_LENGTH>();
                        here = (
                            segment.kind,
                            records.iter().map(Record::decode).collect::<Vec<_>>().into_iter(),
                        );
                    }
                    Err(error) => {
                        failed = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

impl<R> Reader<R> {
    /// What the snapshot consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it was signed: what a proxy is sent first.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Whether this file has every segment of the snapshot.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(Option::is_some)
    }

    /// Whether this file has the segment.
    pub fn holds(&self, segment: &SegmentId) -> bool {
        self.places.get(segment.ordinal).is_some_and(Option::is_some)
    }
}

/// Takes a manifest that came over a network.
///
/// # Errors
/// [`SnapshotError`] when no key of `trusted` signed it, or it contradicts itself.
pub fn verify_manifest(signed: &Signed, trusted: &[PublicKey]) -> Result<Manifest, SnapshotError> {
    let verified = trusted.iter().find_map(|key| signed.verify(Context::ReputationSnapshot, key).ok());
    Manifest::read(verified.ok_or(SnapshotError::Signature)?).map_err(|_| SnapshotError::Manifest)
}

/// Whether these are the bytes that the manifest means by this segment.
pub fn verify_segment(manifest: &Manifest, segment: &SegmentId, bytes: &[u8]) -> bool {
    bytes.len() as u64 == segment.length()
        && manifest
            .digest(segment.ordinal)
            .is_some_and(|signed| signed[..] == *digest(&SHA256, bytes).as_ref())
}

/// Where each held segment begins, and how long all of them are.
fn places(manifest: &Manifest, held: &[u8]) -> Option<(Vec<Option<u64>>, u64)> {
    let mut body = 0;
    let mut places = Vec::new();
    for segment in manifest.segments() {
        let is_held = held.get(segment.ordinal / 8)? >> (segment.ordinal % 8) & 1 == 1;
        places.push(is_held.then_some(MAGIC.len() as u64 + body));
        body += if is_held { segment.length() } else { 0 };
    }
    let spare = places.len() % 8;
    let filled = spare == 0 || held.last().is_some_and(|last| last >> spare == 0);
    (held.len() == places.len().div_ceil(8) && filled).then_some((places, body))
}

/// The first and the last bytes of the file.
pub(super) const MAGIC: &[u8; 8] = b"klrep\0\0\x01";

/// Lengths of the bitmap and the signed manifest, and the magic again.
pub(super) const TRAILER: usize = 16;

const TAIL_MOST: u64 = MANIFEST_MOST as u64 + 1024 * 1024;
