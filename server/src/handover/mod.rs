//! A new program takes the place of a running server, and no tunnel notices.

mod give;
mod link;
pub mod message;
mod parcel;
mod predecessor;
mod program;
mod successor;
mod take;

pub use give::{Outcome, hand_over};
pub use link::{Link, LinkError};
pub use predecessor::{Discord, Predecessor};
pub use program::Program;
pub use successor::{Failure, Successor};
pub use take::{TakeError, carry_all, take_over};
