//! How the session of a grant is kept.

use std::time::Duration;

use crate::net::ready;

/// What is done ahead of need, and in an outage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    /// Which connections are kept ready.
    pub(super) ready: ready::Config,
    /// How long a connection waits for the end of an outage.
    pub(super) patience: Duration,
}
