//! The tokio floor: sockets, inner TLS, the byte mover, and the tasks that own the cores.

pub mod exchange;
pub mod initiator;
pub mod inner;
pub mod mover;
pub mod peek;
pub mod request;
pub mod socket;
