//! Where the next reading of a directory goes on: a mark, and the server that it is of.

use std::fmt;
use std::str::FromStr;

use super::Mark;

/// A mark of one server; of another it says nothing, since each controller of a domain counts for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// Until where the directory has been read.
    pub mark: Mark,
    /// On which server.
    pub server: String,
}

/// Text is no bookmark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say where the last reading of a directory ended")]
pub struct BookmarkError(String);

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mark, self.server)
    }
}

impl FromStr for Bookmark {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        let read = || {
            let (mark, server) = text.trim().rsplit_once(' ')?;
            Some(Self { mark: mark.parse().ok()?, server: server.to_owned() })
        };
        read().ok_or_else(|| BookmarkError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_read_as_it_was_written() {
        let bookmark = Bookmark { mark: Mark::Change(41), server: "ldaps://dc1.example.org".into() };
        assert_eq!(bookmark.to_string(), "change 41 ldaps://dc1.example.org");
        assert_eq!(format!("{bookmark}\n").parse(), Ok(bookmark));
        for text in ["", "change 41", "ldaps://dc1.example.org", "change x ldaps://dc1.example.org"] {
            assert!(text.parse::<Bookmark>().is_err(), "{text}");
        }
    }
}
