//! What a directory says about the computers in it: accounts with an identifier, a name and a place in the tree.
//!
//! A directory sees no network: an account has no address. It joins what is found there by card and by name
//! ([`crate::inventory`]), and its word on who is who outweighs theirs.

mod bookmark;
mod entry;
mod filter;
mod member;

pub use bookmark::{Bookmark, BookmarkError};
pub use entry::Entry;
pub use filter::{ATTRIBUTES, Mark, MarkError, filter};
pub use member::Member;
