//! Finds the devices of a network: polls ranges, asks for names, and merges what it hears into hosts.
//!
//! The lower floor decides in virtual time and never touches a socket: which addresses may be asked ([`plan`], made of
//! [`range`]s), in which order ([`walk`]), how fast ([`pacer`], by a [`profile`], and by what a kernel sends by itself:
//! [`resolution`]), how often and until when ([`sweep`], by [`loss`] and [`rtt`]); what a probe looks like and which frames
//! are its answers ([`probe`], [`packet`], [`cookie`]); names ([`dns`], [`windows`]); what a [`directory`] says. Everything
//! learned is a [`fact`]; an [`inventory`] makes hosts of facts, and a [`guard`] says which answers do not count. `net` holds
//! the sockets, `cli` the `klpoll` command.
//!
//! ```text
//! ranges ─▶ Plan ─▶ Walk ─▶ Sweep ──Probe──▶ Prober ──frame──▶ network
//!                   Pacer ───▲ ▲                                  │
//!                              └──────── Answer ◀── Prober ◀──────┘
//!                            Found ─▶ Fact ─▶ Inventory ─▶ hosts
//! names:  Resolver (DNS) · Browser (mDNS) · windows ─▶ Fact
//!         directory ─▶ Member ─▶ Inventory
//! ```
//!
//! # Invariants
//! - No address outside the named ranges is asked, and answers from there are nobody's
//!   (`plan::tests::every_number_is_one_address_and_back`, `sweep::tests::an_answer_from_outside_the_plan_is_nobodys`).
//! - In no span of a profile's length do more packets leave than it says, whatever the machine does
//!   (`pacer::tests::every_profile_keeps_its_pace_whatever_the_machine_does`).
//! - A host that has answered is asked again only as part of a bounded sample
//!   (`sweep::tests::every_host_is_found_and_nobody_is_asked_after_an_answer_but_for_the_sample`).
//! - An answer that does not carry its probe's cookie finds nobody (`packet`: `no_flipped_bit_passes_and_no_piece`).
//!   ARP and neighbour discovery have no place for one: there an answer must be addressed to the asking card.
//! - One device is one host, two devices are never one (`inventory::tests`).
//! - Text from the network is short and acts on nothing (`name::tests::nothing_acts_and_nothing_is_long`).
//! - Every decoder takes any bytes (fuzz targets `probe`, `dns`, `windows`); every table is bounded, and a plan of a /8
//!   takes 4 MiB (`sweep::board`).
//! - No credential leaves this crate's parts but for a directory, and there over TLS alone, to a server that has shown
//!   who it is (`tests/tests/directory.rs`).

pub mod cookie;
pub mod directory;
pub mod dns;
pub mod fact;
pub mod guard;
pub mod inventory;
pub mod loss;
pub mod mac;
pub mod name;
pub mod pacer;
pub mod packet;
pub mod plan;
pub mod probe;
pub mod profile;
pub mod range;
mod read;
pub mod resolution;
pub mod rtt;
pub mod schedule;
pub mod sweep;
pub mod walk;
pub mod windows;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;
