//! Identity: who holds which role in which fabric, proven by certificates under one pinned root.
//!
//! No sockets here; TLS is configured, not driven. `PROTOCOL.md`, sections 8 to 12 and 17.

pub mod authority;
pub mod beacon;
mod chain_error;
pub mod crl;
pub mod crypto;
pub mod enroll;
#[cfg(unix)]
pub mod owner;
pub mod pem;
pub mod profile;
pub mod renew;
pub mod role;
pub mod secret_file;
pub mod state;
pub mod tls;
pub mod trust;

pub use chain_error::ChainError;
pub use role::{Principal, Role};
pub use trust::Trust;
