//! One transmission brings an object to every receiver of a LAN, verified, at nearly the information bound.
//!
//! `PROTOCOL.md` beside this crate's manifest is the specification. The lower floor is bytes and time in, decisions
//! out: what an object is ([`manifest`], [`catalogue`], [`path`], [`layout`]), the [`erasure`] code, [`packet`]s under
//! their [`key`]s and what is in them ([`announcement`], [`mark`], [`feedback`]), and two cores, [`sender::Sender`] and
//! [`receiver::Receiver`]. The cores keep the book of which symbols went where and never see a byte of them, so that
//! ten thousand receivers run in a simulator with the code that runs on the wire. `net` holds sockets, files and
//! threads, `cli` the command.
//!
//! ```text
//! Sender ──ANNOUNCEMENT, SYMBOL, MARK──▶ group ──▶ Receiver ──block──▶ restore, hash ──▶ file
//!    ▲────────────────────── FEEDBACK (unicast) ──────┘
//! ```
//!
//! # Invariants
//! - Every message has one encoding; what is cut short, left over or out of range is refused (the tests of each).
//! - What a receiver holds is bounded (`receiver::tests::memory_is_bounded_and_lower_blocks_go_first`).
//! - No pair of packet key and nonce comes twice
//!   (`key::tests::ten_thousand_restarts_in_four_lanes_never_repeat_a_key`; numbers only grow in `sender`).
//! - Nobody but a signer makes an object, nobody but an announcer a session
//!   (`manifest::tests::only_the_signers_own_bytes_are_taken`,
//!   `announcement::tests::another_session_signer_or_byte_is_refused`).
//! - No path leaves its folder (`path::tests::paths_that_leave_or_surprise_are_refused`).
//! - Any k symbols make the block (`erasure::tests::any_k_symbols_make_the_block`).
//! - A replayed feedback changes nothing (`sender::audience::tests::a_replay_changes_nothing`).
//! - Every receiver completes, whatever is lost, and the symbols on the wire stay near the bound (`simulation`).
//! - Nothing is sent that a receiver has no room for
//!   (`simulation::tests::eight_receivers_whose_disks_are_slower_than_the_network_are_waited_for`).
//! - The specification and the code name the same limits (`protocol`).

pub mod announcement;
pub mod catalogue;
pub mod dice;
pub mod erasure;
pub mod feedback;
pub mod id;
pub mod key;
pub mod layout;
pub mod loss;
pub mod manifest;
pub mod mark;
pub mod packet;
pub mod path;
mod reader;
pub mod receiver;
pub mod sender;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod symbols;
pub mod tags;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;

#[cfg(test)]
mod protocol;

pub use reader::Malformed;
