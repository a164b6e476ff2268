//! What a distribution point has, whatever the epoch.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use klnet_wire::id::DistributionId;

use super::files::Files;
use super::place::Place;
use super::strangers::Strangers;

/// What stays from one epoch to the next.
#[derive(Debug, Clone)]
pub(super) struct Wares {
    pub(super) place: Arc<Place>,
    /// What members may fetch.
    pub(super) files: Arc<Files>,
    /// What was sent to the end: it is not sent again.
    pub(super) sent: Arc<Mutex<HashSet<DistributionId>>>,
    pub(super) strangers: Arc<Strangers>,
}
