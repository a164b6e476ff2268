//! From what was written to the one text that is hashed.

use std::fmt;

use super::error::{URL_MOST, UrlError};
use super::escape::{escaped, unescape};
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
