//! Names and other text that the network says, made short and harmless before anything else sees it.
//!
//! A hostile device names itself as it likes: with terminal escapes, markup, a megabyte. What acts on a terminal or makes
//! text read as something else is replaced here, once; markup is for those who write markup to escape.

use std::fmt;

/// Text of bounded length without characters that act.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Box<str>);

impl Text {
    /// Cleans text; `None` when nothing readable is in it.
    pub fn new(text: &str) -> Option<Self> {
        let clean: String = text.chars().take(LIMIT).map(|c| if acts(c) { REPLACED } else { c }).collect();
        let trimmed = clean.trim();
        let readable = trimmed.chars().any(|c| c != REPLACED);
        readable.then(|| Self(trimmed.into()))
    }

    /// Cleans bytes that should be UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // No more than what may become of it; a character has up to four bytes.
        Self::new(&String::from_utf8_lossy(bytes.get(..4 * LIMIT).unwrap_or(bytes)))
    }

    /// The name of a host as DNS compares it: in lower case, without the dot of the root.
    pub fn host(text: &str) -> Option<Self> {
        Self::new(text.trim().trim_end_matches('.')).map(|text| Self(text.0.to_lowercase().into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether a character acts: control characters, and directional and invisible ones (Unicode Technical Report 36).
fn acts(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || hidden
}

const REPLACED: char = char::REPLACEMENT_CHARACTER;
/// The longest name DNS has (RFC 1035, 2.3.4); other text is cut there too.
const LIMIT: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_and_nothing_is_long() {
        let shown = |text: &str| Text::new(text).map(|text| text.to_string());
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c"), Some("a\u{fffd}[2Jb\u{fffd}c".into()));
        assert_eq!(shown(" Zoë 東京 <b> "), Some("Zoë 東京 <b>".into()));
        assert_eq!(shown(&"x".repeat(70_000)).unwrap().len(), LIMIT);
        assert_eq!(shown("\0\n"), None);
        assert_eq!(shown(""), None);
        assert_eq!(Text::from_bytes(&[0xff; 70_000]), None);
        assert_eq!(Text::from_bytes(b"pc-7\xff").unwrap().as_str(), "pc-7\u{fffd}");
    }

    #[test]
    fn a_host_has_one_spelling() {
        assert_eq!(Text::host("WEB-7.Example.ORG."), Text::host("web-7.example.org"));
        assert_eq!(Text::host("."), None);
    }
}
