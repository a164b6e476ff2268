//! The domain name system: names of addresses, in bulk ([`resolver`]), and what hosts announce on the link ([`mdns`]).
//!
//! Messages are read by `hickory-proto`, which bounds names and refuses loops of pointers; what is taken out of them is
//! bounded here again.

pub mod mdns;
pub mod resolver;
mod reverse;

pub use reverse::{Reply, question, reply};
pub mod service;
