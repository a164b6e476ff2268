//! Lists that others publish, in the formats they publish them in.
//!
//! A feed is read once, in order, with a bounded amount of memory, and becomes claims about subjects in an [`Intake`].
//! What its format does not allow refuses the whole feed, with line and reason: half of a list is worse than the one of
//! yesterday. What the format allows and no query could ask for (a fingerprint of a handshake, a regular expression) is
//! left out and counted. Columns beyond those that are known are counted as drift, for publishers add columns without
//! notice. Nothing in a feed is ever executed, followed or fetched.
//!
//! | format | says | confidence |
//! |---|---|---|
//! | `clamav` | `.hdb .hsb .mdb .msb`: malicious; `.fp .sfp`: clean; `.crb`; `.cvd` and `.cld` with them in it | 90, 100 |
//! | `urlhaus` | URLs that distribute malware | 90 online, 70 offline |
//! | `malwarebazaar` | files by three hashes | 90 |
//! | `threatfox` | addresses, domains, URLs, files | its own |
//! | `sslbl` | certificates by SHA-1 | 90 |
//! | `nsrl` | published software: known, which judges nothing | 50 |
//! | `misp` | warning lists: clean, a match elsewhere is most likely a mistake | 80 |
//! | `gsb` | Safe Browsing v5 hash lists: the first bytes of hashes | 60 |
//! | `stix` | indicators of a STIX 2.1 bundle | their own, else 70 |
//! | `rpz`, `plain` | names that are blocked or let through | 80 |

mod archived;
mod cells;
mod clamav;
mod cvd;
mod error;
mod format;
mod gsb;
mod hash_list;
mod intake;
mod line;
mod malwarebazaar;
mod misp;
mod nsrl;
mod plain;
mod progress;
mod report;
mod rice;
mod rpz;
mod says;
mod shape;
mod source;
mod sslbl;
mod stamp;
mod stix;
mod stix_pattern;
mod threatfox;
mod unpacked;
mod urlhaus;

pub use error::{FeedError, Reason};
pub use format::{Format, UnknownFormat};
pub use hash_list::{HashList, HashLists};
pub use intake::Intake;
pub use progress::Progress;
pub use report::{Report, Skipped};
pub use source::{read_bytes, read_file};

#[cfg(test)]
mod tests;
