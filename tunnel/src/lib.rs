//! Tunnels to one port of a managed device behind NAT: grants, relay, target, and the `klsctunnel` command.
//!
//! `PROTOCOL.md` beside this crate's manifest is the specification. The lower floor is bytes and time in, decisions
//! out: [`grant`]s and [`blob`]s, the names in first flights ([`label`], [`hello`]), the messages inside the inner TLS
//! ([`stream`]), what a SOCKS client asks for ([`socks`]), which addresses may be reached ([`address`], [`policy`]),
//! and two cores, [`relay::Relay`] and [`target::Target`]. Each is a plain struct: tell it what happened, drain
//! `poll_output`, call `handle_timeout` when `poll_timeout` says. `net` holds the sockets, `cli` the command.
//!
//! ```text
//! initiator ──label──▶ Relay ◀──cookie── Target ──▶ host:port
//!     └────────── inner TLS 1.3, GO/READY ──┘
//!
//! label   Unused ─▶ Pairing ─▶ Used            grant   held ─▶ begun ─▶ resting ─▶ over
//!            ▲─ rejected ─┘                                └── void (new epoch) ──┘
//! target  DialingBack ─▶ Handshaking ─▶ Go ─▶ Resolve ─▶ Dial ─▶ Carry ─▶ record
//! ```
//!
//! # Invariants
//! - Bytes are a grant only in the one encoding that was signed
//!   (`grant::tests::whatever_is_read_as_a_grant_encodes_to_the_same_bytes`).
//! - A target takes no grant that is forged, changed, for another device, tenant, server or session, or was there
//!   before (`target::tests::a_grant_that_is_not_for_this_device_now_is_refused_with_the_reason`,
//!   `no_truncated_or_bit_flipped_grant_is_taken`, `a_grant_is_taken_once_even_after_it_ended`).
//! - No packet leaves for a target before the operator's key is verified and GO came
//!   (`target::tests::no_packet_leaves_for_the_target_before_go`).
//! - No forbidden address is dialled in any form (`address::tests`,
//!   `target::tests::a_forbidden_address_is_never_dialled_however_it_is_named`).
//! - A connection that is kept ready takes no place from one in use, and none is kept for ever
//!   (`net::ready::stock::tests`, `tests/loopback/ready.rs`).
//! - A grant is redeemed once (`target::tests::of_a_thousand_redeemers_with_the_right_key_one_gets_the_session`).
//! - Nothing counts before the agent has verified the key (`relay::tests::a_copied_label_burns_nothing`,
//!   `a_pair_counts_only_once_the_agent_has_verified_it`).
//! - Every refused first flight looks the same from outside (`relay::tests::every_refused_hello_looks_the_same`).
//! - Each verified connection leaves exactly one record at its target, none but those leave one at the relay, and every
//!   table is bounded and returns to empty (`simulation`).
//! - A relay that takes another's place has each of its live pairs with every limit and record, and nothing else of it
//!   (`relay::tests::handover`, `simulation`).
//! - The specification and the code name the same limits (`protocol`).
//! - Secrets never print themselves (`label::tests::secrets_never_print_themselves`).

pub mod address;
pub mod blob;
pub mod grant;
pub mod hello;
pub mod label;
pub mod pair;
pub mod policy;
pub mod record;
pub mod relay;
pub mod socks;
pub mod stream;
pub mod target;
mod timers;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;

#[cfg(test)]
mod protocol;
#[cfg(test)]
mod simulation;
