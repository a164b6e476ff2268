//! The tokio floor: dialling, TLS streams, the driver of a session, an HTTPS client for the API.

pub mod dial;
pub mod https;
pub mod link;
pub mod renew;
