//! What every test of the project stands on.
//!
//! | module | gives |
//! |---|---|
//! | [`lab`] | hosts as network namespaces on this machine: NAT, loss, partition, real processes |
//! | [`fabric`] | certificates of one root, for programs without a server |
//! | [`fleet`] | a server, devices and operators in a lab, logged in and enrolled as people do it |
//! | [`peer`] | real programs of others, started on such a host |
//! | [`sim`] | a seeded network in virtual time: datagrams, multicast, byte streams |
//! | [`fault`] | descriptor limits, full disks, failing system calls, wrong clocks, a hostile relay |
//! | [`mod@bench`] | the runner behind `tests/bench NAME`: alternated rounds, ratios, CPU seconds |
//!
//! [`program()`] finds the project's own commands; [`free_ports`] gives ports that nobody else takes; [`skip()`] and [`need_programs`] skip a test aloud; [`scale`] chooses
//! between short and long.
//!
//! Nothing depends on this crate (`tests/structure.rs` holds that), so it uses `anyhow` throughout: its only reader of
//! errors is a person looking at a failed test.
//!
//! Invariants, and the test that holds each:
//! - the same seed gives the same history in [`sim`]: `same_seed_gives_the_same_history`;
//! - traffic of a [`lab::Lab`] never leaves namespaces it made itself: `hosts_have_no_way_out_of_the_lab`;
//! - a lab leaves neither namespace nor process behind: `dropped_lab_leaves_nothing_behind`.

pub mod bench;
pub mod fabric;
pub mod fault;
pub mod fleet;
pub mod lab;
pub mod peer;
mod port;
mod program;
pub mod sim;
mod skip;
mod system;

pub use port::free_ports;
pub use program::program;
pub use skip::{Unavailable, need_programs, skip};

/// The short value usually, the long one under `tests/run --long` (environment `KLNET_LONG=1`).
#[must_use]
pub fn scale<T>(short: T, long: T) -> T {
    if std::env::var("KLNET_LONG").is_ok_and(|v| v == "1") { long } else { short }
}
