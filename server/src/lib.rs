//! Work in progress.

#[cfg(feature = "net")]
pub mod store;
