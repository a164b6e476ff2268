//! The part of STIX patterns that is a lookup: `[path = 'value' OR path IN ('a', 'b')] OR […]`.
//!
//! Whatever has more in it (AND, NOT, LIKE, qualifiers) needs more than one observation, and is not turned into less.

use super::shape;
use crate::subject::{Digest, Subject};
use crate::url::CanonicalUrl;

/// What a pattern comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Each of these matches it; none when it is about other things.
    Subjects(Vec<Subject>),
    /// It is more than a lookup.
    Beyond,
    /// A value is not what its path says.
    Value(String),
}

pub(super) fn subjects(pattern: &str) -> Pattern {
    let mut rest = Rest(pattern);
    let mut terms = Vec::new();
    loop {
        if rest.observation(&mut terms).is_none() || terms.len() > TERMS_MOST {
            return Pattern::Beyond;
        }
        if rest.is_done() {
            break;
        }
        if rest.word("OR").is_none() {
            return Pattern::Beyond;
        }
    }
    let mut subjects = Vec::new();
    for (path, value) in terms {
        match subject(path, &value) {
            Ok(subject) => subjects.extend(subject),
            Err(NotThat) => return Pattern::Value(value),
        }
    }
    Pattern::Subjects(subjects)
}

/// A value that is not what its path says.
struct NotThat;

/// The subject of a term; `None` when its path is about nothing that is asked for.
fn subject(path: &str, value: &str) -> Result<Option<Subject>, NotThat> {
    let bytes = value.as_bytes();
    let digest = || Digest::parse(bytes).map_err(|_| NotThat);
    let known =
        |hash: &str| matches!(hash.trim_matches('\''), "MD5" | "SHA-1" | "SHA1" | "SHA-256" | "SHA256");
    if let Some(hash) = path.strip_prefix("file:hashes.") {
        return if known(hash) { digest().map(|digest| Some(Subject::File(digest, None))) } else { Ok(None) };
    }
    if let Some(hash) = path.strip_prefix("x509-certificate:hashes.") {
        return if known(hash) {
            digest().map(|digest| Some(Subject::Certificate(digest)))
        } else {
            Ok(None)
        };
    }
    let subject = match path {
        "domain-name:value" => shape::domain(bytes),
        "url:value" => CanonicalUrl::parse(bytes).ok().map(|url| Subject::Url(url.digest())),
        "ipv4-addr:value" | "ipv6-addr:value" => shape::network(bytes).map(Subject::Network),
        _ => return Ok(None),
    };
    subject.map(Some).ok_or(NotThat)
}

/// What is left to read of a pattern.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// `[comparison OR comparison …]`.
    fn observation(&mut self, terms: &mut Vec<(&'a str, String)>) -> Option<()> {
        self.word("[")?;
        loop {
            self.comparison(terms)?;
            if self.word("]").is_some() {
                return Some(());
            }
            self.word("OR")?;
        }
    }

    /// `path = 'value'` or `path IN ('value', …)`.
    fn comparison(&mut self, terms: &mut Vec<(&'a str, String)>) -> Option<()> {
        let text = self.0.trim_start();
        let end = text.find(|c: char| c.is_whitespace() || "=!<>[]()".contains(c))?;
        let (path, rest) = text.split_at(end);
        self.0 = rest;
        if self.word("=").is_some() {
            terms.push((path, self.literal()?));
            return Some(());
        }
        self.word("IN")?;
        self.word("(")?;
        loop {
            terms.push((path, self.literal()?));
            if self.word(")").is_some() {
                return Some(());
            }
            self.word(",")?;
        }
    }

    /// `'text'`, in which a backslash takes the next character as it is.
    fn literal(&mut self) -> Option<String> {
        self.word("'")?;
        let mut text = String::new();
        let mut characters = self.0.char_indices();
        loop {
            match characters.next()? {
                (at, '\'') => {
                    self.0 = &self.0[at + 1..];
                    return Some(text);
                }
                (_, '\\') => text.push(characters.next()?.1),
                (_, character) => text.push(character),
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(word)?;
        Some(())
    }

    fn is_done(&self) -> bool {
        self.0.trim().is_empty()
    }
}

/// Values of one pattern; a pattern of more is a list in disguise, and not looked through.
const TERMS_MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_lists_and_or_are_lookups() {
        let hash = "a".repeat(64);
        let file = Subject::File(Digest::parse(hash.as_bytes()).expect("a hash"), None);
        assert_eq!(subjects(&format!("[file:hashes.'SHA-256' = '{hash}']")), Pattern::Subjects(vec![file]));
        assert_eq!(subjects(&format!("[ file:hashes.SHA256='{hash}' ]")), Pattern::Subjects(vec![file]));
        let pattern = "[domain-name:value = 'a.example' OR domain-name:value IN ('b.example','c.example')] OR [domain-name:value = 'd.example']";
        let names = ["a.example", "b.example", "c.example", "d.example"].map(Subject::domain);
        assert_eq!(subjects(pattern), Pattern::Subjects(names.to_vec()));
        assert_eq!(subjects("[file:name = 'it\\'s']"), Pattern::Subjects(Vec::new()));
    }

    #[test]
    fn everything_else_is_beyond() {
        for pattern in [
            "",
            "[",
            "[file:name = 'a'",
            "[domain-name:value = 'a.example' AND file:name = 'x']",
            "[domain-name:value != 'a.example']",
            "[domain-name:value LIKE '%.example']",
            "[domain-name:value = 'a.example'] FOLLOWEDBY [file:name = 'x']",
            "[domain-name:value = 'a.example'] WITHIN 5 SECONDS",
            "[NOT domain-name:value = 'a.example']",
        ] {
            assert_eq!(subjects(pattern), Pattern::Beyond, "{pattern}");
        }
    }

    #[test]
    fn value_that_is_not_what_its_path_says_is_refused() {
        assert_eq!(subjects("[file:hashes.MD5 = 'xyz']"), Pattern::Value("xyz".to_owned()));
        assert_eq!(subjects("[ipv4-addr:value = '1.2.3']"), Pattern::Value("1.2.3".to_owned()));
    }
}
