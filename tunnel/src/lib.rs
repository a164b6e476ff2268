//! Tunnels to a port of a managed device behind NAT: grants, relay, target, and the `klsctunnel` command.
//!
//! `PROTOCOL.md` beside this crate's manifest is the specification.

pub mod address;
pub mod blob;
pub mod grant;
pub mod hello;
pub mod label;
pub mod pair;
pub mod policy;
pub mod record;
pub mod relay;
pub mod stream;
pub mod target;
#[cfg(test)]
mod simulation;
mod timers;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;
