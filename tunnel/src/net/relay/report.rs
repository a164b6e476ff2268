//! What the tasks of a relay's sockets tell its driver.

use crate::net::mover::Lifted;
use crate::pair::{ConnId, PairEnd, PairId};

/// What the tasks of sockets tell.
#[derive(Debug)]
pub(super) enum Report {
    Gone(ConnId),
    Ended(PairId, PairEnd),
    Lifted(PairId, Box<Lifted>),
}
