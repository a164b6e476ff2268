//! What a server answers from: one immutable, signed file of everything its sources say.
//!
//! ```text
//!  feed ──▶ Sorter ──▶ sources/NAME ─┐
//!  feed ──▶ Sorter ──▶ sources/NAME ─┼─ merge ──▶ current ──▶ Snapshot::lookup
//!                                    ┘            previous
//!  file:  magic | segment … segment | signed manifest | which segments are held | lengths, magic
//! ```
//! A segment holds the records of one key space whose keys begin with the same bits, in order; it is what is verified,
//! looked into and replicated. The manifest has the SHA-256 of each, so a proxy may hold any of them and still prove
//! every answer. A snapshot is loaded, not mapped: what was verified is what is answered from, and no program that
//! shortens the file can end a server.
//!
//! **Which source wins.** Records of one key are merged when a snapshot is made, not when it is asked:
//! 1. the higher confidence wins, so an exact allow list (ClamAV `.fp`: 100) beats a signature (90), and a signature
//!    beats a list of popular names (80);
//! 2. at equal confidence clean beats malicious, which beats suspicious, which beats known: an allow list of the same
//!    weight exists to correct the others;
//! 3. then the newer statement, then the source whose name comes first.
//!
//! Of several records that fit a query the most particular wins whatever they say: a longer prefix of a network, a whole
//! hash before a prefix of it. It does not matter in which order sources were imported.

#[cfg(feature = "import")]
mod live;
mod lookup;
mod manifest;
mod memory;
mod network;
mod part;
mod reader;
mod record;
#[cfg(feature = "net")]
mod replica;
mod segment;
mod sorted;
#[cfg(feature = "import")]
mod sorter;
#[cfg(feature = "import")]
mod store;
#[cfg(feature = "import")]
mod writer;

#[cfg(feature = "import")]
pub use live::{Live, Refreshed};
pub use lookup::{Snapshot, ttl_of};
pub use manifest::{MANIFEST_MOST, Manifest, SOURCES_MOST, Source, Space};
pub use part::Part;
pub use reader::{Reader, SnapshotError, verify_manifest, verify_segment};
pub use record::{Claim, RECORD_LENGTH, Record};
#[cfg(feature = "net")]
pub use replica::{Filling, Replica, ReplicaError, Wanted};
pub use segment::{SegmentId, segments_of};
#[cfg(feature = "import")]
pub use sorter::Sorter;
#[cfg(feature = "import")]
pub use store::{NAME_MOST, SnapshotStore, StoreError};
#[cfg(feature = "import")]
pub use writer::Writer;

#[cfg(all(test, feature = "import"))]
mod tests;
