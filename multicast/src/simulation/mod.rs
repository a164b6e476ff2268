//! The cores under any number of receivers in virtual time: the same seed gives the same history.
//!
//! Up to 32 receivers get real bytes, restore them and compare; more have books only, a few KiB each, kept by the very
//! same cores. Packets arrive after a millisecond; feedback is encoded and decoded as on the wire.

mod agenda;
mod bytes;
mod crowd;
mod insider;
mod link;
mod outcome;
mod scenario;
mod station;
mod world;

pub use link::{Intake, Link, Pattern};
pub use outcome::Outcome;
pub use scenario::{Insider, Scenario, Who};

#[cfg(test)]
mod small;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
