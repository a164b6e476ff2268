//! Every way to write one address leads to one text, and one text to few expressions.
//!
//! Lists of bad addresses hold hashes of expressions: a suffix of the host and a prefix of the path. A proxy and its
//! feeds must come to the same bytes, whatever an attacker did to the spelling. The rules are those Google publishes
//! for Safe Browsing ("URLs and Hashing"), whose test vectors are replayed here:
//!
//! ```text
//! HTTP://a%2eB.c:80/1/./2.html?param=1#top  ->  http://a.b.c/1/2.html?param=1
//!     a.b.c/1/2.html?param=1   a.b.c/1/2.html   a.b.c/1/   a.b.c/
//!     b.c/1/2.html?param=1     b.c/1/2.html     b.c/1/     b.c/
//! ```
//!
//! Nothing here allocates more than the input is long, and all of it takes time in proportion to it.

mod canonical;
mod error;
mod escape;
mod expression;
mod host;
mod path;

pub use canonical::CanonicalUrl;
pub use error::{URL_MOST, UrlError};
pub use expression::{EXPRESSIONS_MOST, Expression, PARENTS_MOST};
pub use host::{HOST_MOST, Host};

#[cfg(test)]
mod tests;
