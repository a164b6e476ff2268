//! The tokio floor: sockets, inner TLS, the byte mover, and the tasks that own the cores.

pub mod accept;
mod clock;
pub mod exchange;
pub mod initiator;
pub mod inner;
pub mod lobby;
pub mod mover;
pub mod peek;
pub mod relay;
pub mod request;
pub mod socket;
pub mod target;
