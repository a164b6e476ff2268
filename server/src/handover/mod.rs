//! A new program takes the place of a running server, and no tunnel notices.

mod link;
pub mod message;
mod program;

pub use link::{Link, LinkError};
pub use program::Program;
