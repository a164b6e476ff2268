//! The domain name system: names of addresses, in bulk ([`resolver`]), what hosts announce on the link ([`mdns`]), and what
//! hosts of the link say when they are asked themselves ([`llmnr`]).
//!
//! Messages are read by `hickory-proto`, which bounds names and refuses loops of pointers; what is taken out of them is
//! bounded here again.

pub mod llmnr;
pub mod mdns;
pub mod resolver;
mod reverse;
pub mod service;
mod window;

pub use reverse::{Reply, question, reply};
