//! A new program takes the place of a running server, and no tunnel notices.
//!
//! ```text
//!  devices, operators          old process                         new process                     supervisor
//!                     SIGHUP ─▶ │ ─────────────────────────────────────────────── RELOADING=1 ─────────▶ │
//!                               │ ── runs the program, a socket as its input ─▶ │                        │
//!   served as ever              │ ── Offer, Listener × n ─────────────────────▶ │ configuration, keys,   │
//!                               │ ◀─────────── Prepared, or Cannot ──────────── │ schema, added ports    │
//!   ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ │ ┄┄┄┄ until here a failure changes nothing ┄┄┄ │ ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ │
//!   connections wait in their   │ ends requests and sessions, records ends,     │                        │
//!   queues, tunnels flow        │ closes the store                              │                        │
//!                               │ ── Pair × n, Record × n, Serve ─────────────▶ │ opens the store,       │
//!   devices and operators are   │ ◀─────────── Serving, or Cannot ───────────── │ knows every live pair, │
//!   served again                │                                               │ accepts                │
//!   a pair stands still for     │ ── Carry (its descriptors), or Ended ───────▶ │                        │
//!   about a millisecond         │ ◀─────────── Taken, or Declined ───────────── │ moves its bytes        │
//!                               │    … one pair after the other …               │                        │
//!   declined ones flow here     │ ── Done ────────────────────────────────────▶ │                        │
//!   for `drain_timeout`         │ ◀──────────────────────────────────── Done ── │                        │
//!                               │ ────────────────────────────────────────────── MAINPID=new ──────────▶ │
//!                               ╳ ends, which closes the socket ──────────────▶ │ ─── READY=1 ─────────▶ │
//! ```
//! The two share nothing but the listening sockets until the store changes hands, for it is the one thing that only one
//! of them can have. The old process keeps everything it needs to go on until the last word: whenever the new one ends,
//! says that it cannot or takes too long, it is killed, and the old one opens the store again and serves, without the
//! connections that were with the new one. Only when that cannot be either (a newer schema, say) does it let the others
//! end for `drain_timeout`, say how many it cut, and fail, so that its supervisor starts the new one.
//!
//! A new process that loses the old one before Serve ends; after it, it serves with what it was given.
//!
//! Each connection has one record of the relay: the store takes no second one of the same, so that both processes may
//! record those of which it is not known who carried them last.
//!
//! # Why not otherwise
//! - Sessions are not handed over: their keys are inside the TLS library. An agent is told to come back, waits in the
//!   listener's queue, and brings a new epoch, which voids its grants for new connections in any case.
//! - Nothing is inherited but standard input, which every child has: no code of ours runs between fork and exec, and no
//!   variable names a descriptor to children that know nothing of it.

mod give;
mod link;
pub mod message;
mod parcel;
mod predecessor;
mod program;
mod successor;
mod take;

pub use give::{Outcome, hand_over};
pub use link::{Link, LinkError};
pub use predecessor::{Discord, Predecessor};
pub use program::Program;
pub use successor::{Failure, Successor};
pub use take::{TakeError, carry_all, take_over};
