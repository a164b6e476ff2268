//! The Network Agent.

pub mod backoff;
pub mod directory;
pub mod random;

#[cfg(feature = "net")]
pub mod agent;
#[cfg(feature = "net")]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod clock;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod control;
#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
pub mod enroll;
#[cfg(feature = "net")]
pub mod platform;
#[cfg(feature = "net")]
pub mod state;
#[cfg(feature = "net")]
pub mod status;
#[cfg(feature = "net")]
pub mod tunnels;
