//! The snapshot a proxy answers from, and whose snapshots it follows.

use std::path::PathBuf;
use std::time::Duration;

use klnet_wire::place::Place;
use klnet_wire::signed::PublicKey;

use crate::snapshot::Wanted;

/// A snapshot to answer from.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// The file; whatever takes its place is answered from.
    pub path: PathBuf,
    /// Who may have signed it.
    pub trusted: Vec<PublicKey>,
    /// Whose snapshots it follows; otherwise somebody else writes it.
    pub replicated: Option<Replication>,
}

/// Whose snapshots a proxy follows, and how.
#[derive(Debug, Clone)]
pub struct Replication {
    /// Reputation servers, the best first.
    pub servers: Vec<Place>,
    /// Which part of their snapshots is wanted.
    pub wanted: Wanted,
    /// How often they are asked for another one.
    pub every: Duration,
}
