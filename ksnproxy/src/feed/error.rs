//! Why a feed is refused.

use std::io;

use super::report::Report;
use crate::url::UrlError;

/// A feed that was refused whole.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A line, row or object that the format does not allow.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, counted from 1; of an entry that has no lines, its place.
        line: u64,
        /// What is wrong.
        reason: Reason,
    },
    /// What holds for the feed as a whole.
    #[error("{0}")]
    Whole(Reason),
    /// The feed could not be read, or is not packed as it says.
    #[error("cannot read the feed: {0}")]
    Read(#[source] io::Error),
    /// Neither memory nor disk have room for what is in it.
    #[error("cannot keep what is in the feed: {0}")]
    Keep(#[source] io::Error),
    /// SQLite refuses the file.
    #[error("cannot read the database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// What is wrong with a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A line without an end.
    #[error("longer than {0} bytes, which is the limit of a line")]
    LineLength(usize),
    /// Too few columns, or more than anything has.
    #[error("{found} columns, of which there are at least {least}")]
    Columns {
        /// How many there are.
        found: usize,
        /// How many there must be.
        least: usize,
    },
    /// A quote that is not closed, or text after one.
    #[error("quotes do not match")]
    Quotes,
    /// No hash, or not one of the kind that stands here.
    #[error("{0} is no hash that belongs here")]
    Hash(Excerpt),
    /// No number, or one out of range.
    #[error("{0} is no number that belongs here")]
    Number(Excerpt),
    /// No date.
    #[error("{0} is no time")]
    Time(Excerpt),
    /// Any size, without the version of the engine that can do so.
    #[error("size '*' needs functionality level 73 or more")]
    Wildcard,
    /// A word that the format does not have.
    #[error("{0} is no word of the format")]
    Word(Excerpt),
    /// A name, address or URL that is none.
    #[error("{0} is no name, address or URL")]
    Subject(Excerpt),
    /// Less came than was announced.
    #[error("{found} entries, where {announced} are announced")]
    Count {
        /// How many came.
        found: u64,
        /// How many there should be.
        announced: u64,
    },
    /// The checksum is of other data.
    #[error("the checksum is not that of the content")]
    Checksum,
    /// A container whose head is none.
    #[error("the head is damaged")]
    Head,
    /// A file in a container that is not just a file.
    #[error("{0} is not the name of a plain file")]
    Name(Excerpt),
    /// Little that becomes much.
    #[error("unpacks to more than {0} bytes")]
    Bomb(u64),
    /// A container without any list in it.
    #[error("no list in it that belongs to the format")]
    NoList,
    /// Nothing that could be asked for: a page of a web server, an empty file.
    #[error("nothing in it that could be asked for")]
    Empty,
    /// More was left out than taken.
    #[error("more was left out than taken in: {0}")]
    LeftOut(Box<Report>),
    /// Another structure than the format has.
    #[error("{0}")]
    Structure(String),
    /// A difference to a list that is not here.
    #[error("a partial update of a list that is not here: fetch the whole list")]
    Partial,
    /// A difference to another version of a list, or a damaged one.
    #[error(
        "a partial update, and not of the version that is here ({0}): fetch what follows that one, or the whole list"
    )]
    Base(String),
}

/// The beginning of what is wrong, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Reason {
    /// At this line.
    pub fn at(self, line: u64) -> FeedError {
        FeedError::Line { line, reason: self }
    }
}

impl From<&[u8]> for Excerpt {
    fn from(bytes: &[u8]) -> Self {
        let begin = &bytes[..bytes.len().min(EXCERPT_MOST)];
        Self(begin.escape_ascii().to_string())
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}'", self.0)
    }
}

impl From<Reason> for FeedError {
    fn from(reason: Reason) -> Self {
        Self::Whole(reason)
    }
}

impl UrlError {
    /// Why an address of a feed is left out: a feed lists what was seen, and that may be no address.
    pub(super) const fn left_out(self) -> &'static str {
        match self {
            Self::Length(_) => "a URL that is too long",
            Self::NoHost | Self::Host => "a URL without a host",
        }
    }
}

/// Bytes of a line that are shown.
const EXCERPT_MOST: usize = 80;
