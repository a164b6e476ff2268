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
//! The lower floor decides without sockets: when to dial ([`backoff`]), whom ([`directory`]), when the certificate is
//! renewed ([`renewal`]), and when discovery is asked for newer lists ([`refresh`]). Above it [`agent`] is one loop, whose states
//! are:
//!
//! ```text
//!           due                 HELLO, WELCOME
//!  Waiting ─────▶ Connecting ──────────────────▶ Connected ── GOAWAY for ever ──▶ Banned (exit code 3)
//!     ▲               │ nobody answers               │
//!     └───────────────┴──── lost, GOAWAY ────────────┘            SIGTERM: GOODBYE, Stopped
//!
//!  tunnels: GRANT ─▶ OPEN, dial back ─▶ operator's key ─▶ GO ─▶ address judged ─▶ bytes ─▶ signed record
//!           they outlive Connected for the grant's orphan limit, and are void in the next session
//! ```
//! A session is named by a number the agent draws; the server's clock dates what is recorded, and decides nothing.
//!
//! # What it never does
//! - It listens on no TCP port unless the server made it a distribution point ([`distribution`]) or a KSN proxy ([`ksn`]): it
//!   connects out, and greets no server that does not prove its role in the fabric whose root was pinned (`tests/control.rs`: `a_server_of_another_role_or_fabric_is_never_greeted`).
//! - It answers nothing that comes by UDP: what its [`neighbours`] say is heard, and no more
//!   (`neighbours::core::tests`: `nothing_is_ever_answered`).
//! - It tells its token to no server that lacks the pinned root, and stores nothing before everything is verified
//!   (`tests/enroll.rs`: `a_server_without_the_pinned_root_is_told_nothing`,
//!   `a_certificate_for_another_key_is_not_stored`).
//! - Its private key never leaves the device and is never used while others may read it
//!   (`tests/check.rs`: `a_key_that_others_may_read_is_named`); one in a token never leaves that, and no PIN is tried twice
//!   (`tests/token.rs`).
//! - It replaces keys and lists by newer ones only, also across restarts; the one exception is a list from the future
//!   (`tests/control.rs`: `newer_keys_are_kept_and_older_ones_refused_also_after_a_restart`; `directory::tests`:
//!   `newer_blobs_replace_older_ones_and_never_the_other_way_round`,
//!   `a_list_from_the_future_keeps_no_agent_from_the_next_one`).
//! - It never gives its identity up by itself: a wrong clock is told, an outage waited out, and only a person enrols
//!   again (`tests/check.rs`: `a_clock_that_is_slow_is_the_clock_with_its_skew`; `tests/enroll.rs`:
//!   `an_identity_is_replaced_only_by_force`).
//! - It never strands itself by a certificate: it renews at two thirds of its life, and an expired one for 180 days more;
//!   a lost answer or a full disk leaves it the old one (`tests/renew.rs`).
//! - It never storms a server that comes back: a fleet returns spread over the window its server named
//!   (`backoff::tests`: `a_thousand_agents_return_spread_over_the_window`,
//!   `a_goaway_over_and_over_does_not_make_a_tight_loop`).
//! - Two of it never share a state folder, and root follows no link in it (`tests/control.rs`:
//!   `one_folder_serves_one_agent`; `state::tests`: `a_lock_that_is_a_link_is_not_followed`).
//! - It serves no tunnel the fabric's keys did not grant, to no address of its own or of the fabric's servers by way of
//!   a host name (`klnet_tunnel::target` and its tests; here `tunnels::tests`:
//!   `a_server_whose_name_does_not_resolve_now_keeps_its_last_addresses`).

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
pub mod distribution;
#[cfg(feature = "net")]
pub mod enroll;
#[cfg(feature = "net")]
pub mod ksn;
#[cfg(feature = "net")]
pub mod mover;
#[cfg(feature = "net")]
pub mod neighbours;
#[cfg(feature = "net")]
pub mod platform;
#[cfg(feature = "net")]
pub mod polling;
pub mod random;
pub mod refresh;
pub mod renewal;
#[cfg(feature = "net")]
pub mod state;
#[cfg(feature = "net")]
pub mod status;
#[cfg(feature = "net")]
pub mod tunnels;
#[cfg(feature = "net")]
pub mod unix;
