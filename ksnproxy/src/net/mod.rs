//! Sockets, files and threads around the cores.
//!
//! ```text
//!  UDP 15111 ┐  worker: one thread on each processor        ┌ upstream 1443
//!  TCP 13111 ┴▶ frames ▶ Responder ▶ Cache ──miss, refresh──▶ fetch: owns the Proxy
//!            TLS │          ▲ stores, wakes ◀───────────────┴ task of the runtime
//!  HTTPS 17111 ──┴▶ runtime: tickets, JSON and protobuf
//! ```
//! A worker never waits for anybody: what it cannot answer from the cache it sends over a bounded channel, and answers when
//! the verdict comes back to its inbox.

pub mod client;
mod clock;
mod credentials;
mod desk;
mod fetch;
mod https;
mod inbox;
mod local;
mod replicator;
mod seats;
pub mod server;
pub mod service;
mod snapshot_file;
mod stream;
mod tls;
mod upstream;
pub(crate) mod version;
mod worker;

/// The port of a reputation server.
pub const SERVER_PORT: u16 = 1443;
