//! The Administration Server: one process that managed devices dial, that operators ask over HTTPS, and that joins
//! the two ends of a tunnel without seeing what flows.
//!
//! ```text
//!            HTTPS ──▶ api ──▶ fleet ──▶ store (SQLite)
//!                       │        ▲ │ watch: model, deny set
//!                       ▼        │ ▼
//!  operators ─TCP─▶ tunnels ◀─▶ agents ◀─TLS─ devices
//! ```
//! `fleet` is what the server knows: devices, groups, operators, tokens. Every change is one guarded commit with its
//! audit entry inside; the model in memory only ever follows the store's watch. `agents` holds the sessions of
//! devices, `tunnels` mints grants and drives the relay, `distribution` keeps what is brought to devices and tells them of it, `api` is the only way in for operators.
//!
//! # Invariants
//! - Nothing durable happens when a device reconnects: presence lives in memory (`fleet::Presence`).
//! - No change without an audit entry in the same commit (`fleet::change::Change`, `fleet::tests`).
//! - A route cannot exist without saying who may call it (`api::route`; `api/tests/access.rs` goes through them all).
//! - Revoking cuts live sessions and tunnels within a second (`tests/tests/operators.rs`).

#[cfg(feature = "net")]
pub mod agents;
#[cfg(feature = "net")]
pub mod api;
#[cfg(feature = "net")]
pub mod audit;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "cli")]
pub mod ctl;
#[cfg(feature = "net")]
pub mod directory;
#[cfg(feature = "net")]
pub mod distribution;
#[cfg(feature = "net")]
pub mod fabric;
#[cfg(feature = "net")]
pub mod fleet;
#[cfg(feature = "net")]
mod ground;
#[cfg(feature = "net")]
pub mod handover;
#[cfg(feature = "net")]
mod harmless;
pub mod invitation;
#[cfg(feature = "net")]
pub mod listeners;
#[cfg(feature = "net")]
pub mod metrics;
#[cfg(feature = "net")]
mod plain;
#[cfg(feature = "net")]
mod ports;
#[cfg(feature = "net")]
pub mod revocation;
#[cfg(feature = "net")]
pub mod service;
#[cfg(feature = "net")]
pub mod sessions;
#[cfg(feature = "net")]
pub mod start;
#[cfg(feature = "net")]
pub mod store;
#[cfg(feature = "net")]
pub mod tunnels;
pub mod units;
pub mod unix;
#[cfg(feature = "cli")]
pub mod up;
