//! What is known of a file, an address or a certificate, from a cache that is never the weak point.
//!
//! `PROTOCOL.md` beside this crate's manifest is the specification. The lower floor is bytes and time in, decisions
//! out: what can be asked about ([`subject`]), what can be answered ([`verdict`]), lists of others ([`feed`]), what is
//! made of them ([`snapshot`]), and how a URL becomes what is asked ([`url`]). `net` holds sockets, files and threads,
//! `cli` the commands.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "import")]
pub mod feed;
pub mod snapshot;
pub mod subject;
pub mod url;
pub mod verdict;
