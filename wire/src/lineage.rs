//! The lineage of a fabric: each set of roots signed by a root of the set before, so that whoever knows any of them can
//! follow to the newest.
//!
//! ```text
//! pinned root ──signs──▶ set 1: roots B, A ──B signs──▶ set 2: roots C, B ──C signs──▶ set 3 …
//! ```
//! A lineage proves itself: whoever hands it over may withhold its end, and nothing else.

use bytes::Bytes;

use crate::signed::Signed;

/// The roots of a fabric from one rotation to the next.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TrustSet {
    /// The fabric.
    #[prost(bytes = "bytes", tag = "1")]
    pub fabric: Bytes,
    /// Rises with every rotation; the root of a fabric that was never rotated has 0.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Root certificates in DER, the newest first: that one issues, the others still verify.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub roots: Vec<Bytes>,
}

/// Every set since the fabric was made, the oldest first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Lineage {
    /// Signed [`TrustSet`]s.
    #[prost(message, repeated, tag = "1")]
    pub sets: Vec<Signed>,
}

/// The longest lineage that is read, in bytes: some fifty rotations.
pub const LIMIT: usize = 64 * 1024;
/// Most roots of a set.
pub const ROOTS_LIMIT: usize = 4;
