//! Why a poll could not be made.

use std::io;

use crate::range::Range;

/// Why a poll could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// Nothing leads to any of the addresses.
    #[error("there is no route to {0}")]
    NoRoute(Range),
    /// The kernel did not tell its routes.
    #[error("cannot read the routes of this machine: {0}")]
    Routes(#[source] rtnetlink::Error),
    /// The interface went away in the middle.
    #[error("interface {name} went away: {error}")]
    Interface {
        /// The interface.
        name: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// Something else that should not happen.
    #[error(transparent)]
    Io(#[from] io::Error),
}
