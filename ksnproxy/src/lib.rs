//! What is known of a file, an address or a certificate, from a cache that is never the weak point.
//!
//! `PROTOCOL.md` beside this crate's manifest is the specification. The lower floor is bytes and time in, decisions
//! out: what can be asked about ([`subject`]), what can be answered ([`verdict`]), lists of others ([`feed`]), what is
//! made of them ([`snapshot`]), how a URL becomes what is asked ([`url`]), and what a proxy is:
//!
//! ```text
//!  frame ──▶ Responder ──▶ Cache, Snapshot ──known──▶ frame, never longer than the one that asked
//!               │  ticket, cookie, limit                ▲
//!               └──not known, or no longer fresh──▶ Proxy: coalesce, batch, hedge, give up ──▶ upstream
//! ```
//! `net` holds sockets, files and threads, `cli` the commands.
//!
//! What it never does, and the test that holds it:
//! - answer a datagram with more bytes than it had, or an unproved source with more than a challenge
//!   (`responder`: `no_datagram_is_answered_with_more_than_it_has`, fuzz target `responder`);
//! - open a sealed query twice (`ticket`: `no_counter_is_taken_twice`);
//! - ask upstream twice at once for one key, or leave anyone who asked without an answer
//!   (`proxy`: `everyone_is_answered_once_whatever_upstreams_do`);
//! - answer from anything but an upstream's verdict or a signed snapshot (`snapshot`).

pub mod asked;
pub mod cache;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod cookie;
pub mod counters;
#[cfg(feature = "import")]
pub mod feed;
pub mod frame;
mod header;
pub mod limiter;
#[cfg(feature = "net")]
pub mod net;
pub mod piece;
pub mod policy;
pub mod proxy;
pub mod responder;
pub mod snapshot;
pub mod subject;
pub mod ticket;
pub mod url;
pub mod verdict;
