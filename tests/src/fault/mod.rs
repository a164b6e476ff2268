//! Faults to inject into real programs.
//!
//! | fault | here |
//! |---|---|
//! | out of descriptors | [`limit_descriptors`] |
//! | disk full | [`SmallDisk`] |
//! | a system call fails, say the second fsync | [`strace`] |
//! | the wall clock is wrong | [`shift_clock`] |
//! | `kill -9` in the middle, many times | [`kill_rounds`] |
//! | a hostile or broken box on the path | [`Proxy`] |
//! | loss, partition, a killed flow, a frozen process | [`Host`](crate::lab::Host), [`Process`](crate::lab::Process) |
//!
//! Faults that wrap a command come before [`Host::place`](crate::lab::Host::place).

mod clock;
mod descriptors;
mod disk;
mod kill;
mod mangle;
mod proxy;
mod strace;

pub use clock::{CLOCK_LIBRARIES, shift_clock};
pub use descriptors::limit_descriptors;
pub use disk::SmallDisk;
pub use kill::kill_rounds;
pub use mangle::{End, Mangle};
pub use proxy::{Plan, Proxy};
pub use strace::strace;
