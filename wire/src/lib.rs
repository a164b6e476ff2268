//! The protocol between agents and servers, and the identity both rest on.
//!
//! The lower floor is bytes and time in, decisions out: [`frame`]s of at most one TLS record, [`message`]s in them,
//! the [`session`] that negotiates, keeps itself alive and bounds what a slow peer may hold, and [`signed`] blobs
//! that hops forward untouched. `PROTOCOL.md` beside this crate's manifest is the specification.
//!
//! Two floors stand on it: `identity` (keys, certificates, roles, enrolment; no sockets) and `net` (the tokio driver,
//! TLS connections, an HTTPS client). With `pkcs11` a private key may be in a token.
//!
//! ```text
//!        HELLO                    WELCOME                     GOODBYE | GOAWAY | ERROR | silence
//! Opening ─────▶ (server decides) ───────▶ Established ────────────────────────────────▶ Closed
//!                                           │  ▲ PING/PONG, GRANT, OPEN, REVOKE, …
//!                                           └──┘
//! ```
//!
//! # Invariants
//! - A peer's length is checked against its limit before anything is allocated for it (`frame`, `signed`, `servers`).
//! - A stalled peer holds at most 64 KiB of ours (`session::tests::a_stalled_peer_holds_at_most_64_kib`).
//! - No message is taken from an end that may not send it ([`message::Kind::may_send`];
//!   `session::tests::no_message_is_taken_from_an_end_that_may_not_send_it`).
//! - A signature covers exact bytes and their purpose (`signed::tests::no_flipped_bit_passes`).

pub mod duties;
pub mod frame;
pub mod id;
#[cfg(feature = "identity")]
pub mod identity;
pub mod keyset;
pub mod lineage;
pub mod message;
pub mod multicast;
#[cfg(feature = "net")]
pub mod net;
pub mod outbox;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod place;
pub mod servers;
pub mod session;
pub mod signed;
pub mod signing;
