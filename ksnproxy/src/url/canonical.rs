//! From what was written to the one text that is hashed.

use std::fmt;

use super::host::{self, Host};
use super::path;

/// An address in the one form that is hashed: ASCII, with a scheme, a host and a path that begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalUrl {
    scheme: String,
    host: Host,
    path: String,
    query: Option<String>,
}

/// What is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than [`URL_MOST`].
    #[error("URL of {0} bytes exceeds the limit of {URL_MOST}")]
    Length(usize),
    /// There is nothing between scheme and path.
    #[error("URL without a host")]
    NoHost,
    /// The host is longer than a name can be, or is no name.
    #[error("URL with a host that is no name and no address")]
    Host,
}

impl CanonicalUrl {
    /// Takes an address as it was found: with escapes, fragment, port, user, odd slashes; a missing scheme is `http`.
    ///
    /// # Errors
    /// [`UrlError`] when it is too long or has no host.
    pub fn parse(written: &[u8]) -> Result<Self, UrlError> {
        if written.len() > URL_MOST {
            return Err(UrlError::Length(written.len()));
        }
        let text = unescape(without_fragment(written.trim_ascii()));
        let (scheme, rest) = split_scheme(&text);
        let authority_end =
            rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'\\')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
            None => (rest, None),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            host: Host::parse(host::of_authority(authority))?,
            path: escaped(&path::resolve(path)),
            query: query.map(escaped),
        })
    }

    /// The host alone.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path, which begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the first `?`, when there is one.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)?;
        self.query.iter().try_for_each(|query| write!(f, "?{query}"))
    }
}

/// Escapes what is no visible ASCII character, and the two that mean something else.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte <= b' ' || byte >= 0x7f || byte == b'#' || byte == b'%' {
            text.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]);
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

/// Undoes escapes until none is left. Each byte is taken once: as `%` is no hexadecimal digit two escapes never overlap,
/// and so it makes no difference in which order they are undone.
fn unescape(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        text.push(byte);
        while let [.., b'%', high, low] = text[..] {
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { break };
            text.truncate(text.len() - 3);
            text.push(high << 4 | low);
        }
    }
    text
}

fn without_fragment(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let end = memchr::memchr(b'#', bytes).unwrap_or(bytes.len());
    bytes[..end].iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'))
}

fn split_scheme(text: &[u8]) -> (&str, &[u8]) {
    let name = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
    let scheme = std::str::from_utf8(&text[..name]).unwrap_or_default();
    match text[name..].strip_prefix(b"://") {
        Some(rest) if text[0].is_ascii_alphabetic() => (scheme, rest),
        _ => ("http", text),
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Addresses of more bytes are refused. Browsers send up to 2 MiB; feeds have none above 2 KiB, and a query must fit into
/// one frame.
pub const URL_MOST: usize = 8192;

const HEX: &[u8; 16] = b"0123456789ABCDEF";
