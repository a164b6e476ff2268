//! The Network Agent: makes a device a member of a fabric, keeps one connection to its server, serves tunnels to it.
//!
//! ```text
//!  enroll ──▶ state folder ◀── discovery            klnagchk: every step of the way, in plain words
//!                 │                 │
//!                 ▼                 ▼
//!   backoff ──▶ agent ──dial──▶ control ══ TLS, klnet/1 ══▶ server (23100-23199)
//!                 │ GRANT, OPEN, REVOKE …
//!                 ▼
//!              tunnels ══ dials back for each connection ══▶ the same host and port
//! ```
//! The lower floor decides without sockets: when to dial ([`backoff`]), and whom ([`directory`]).
//!
//! # Invariants
//! - It only ever connects out, and greets no server that does not prove its role in the fabric whose root was pinned
//!   (`tests/control.rs`: `a_server_of_another_role_or_fabric_is_never_greeted`).
//! - A token goes to no server that lacks the pinned root, and nothing is stored before everything is verified
//!   (`tests/enroll.rs`: `a_server_without_the_pinned_root_is_told_nothing`, `a_certificate_for_another_key_is_not_stored`).
//! - Keys and lists are replaced by newer ones only, also across restarts
//!   (`tests/control.rs`: `newer_keys_are_kept_and_older_ones_refused_also_after_a_restart`).
//! - A fleet that lost its server comes back spread (`backoff::tests`: `a_thousand_agents_…`).
//! - A wrong clock is told, and never leads to a new enrolment (`clock::tests`, `tests/check.rs`).

#[cfg(feature = "net")]
pub mod agent;
pub mod backoff;
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
pub mod directory;
#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
pub mod enroll;
#[cfg(feature = "net")]
pub mod platform;
pub mod random;
#[cfg(feature = "net")]
pub mod state;
#[cfg(feature = "net")]
pub mod status;
#[cfg(feature = "net")]
pub mod tunnels;
