//! What a person writes when they ask: a hash, an address, a domain or a URL.

use std::net::IpAddr;

use crate::subject::{Digest, Network, Subject};
use crate::url::{CanonicalUrl, EXPRESSIONS_MOST, Host};
use crate::verdict::{Reputation, Verdict};

/// Text that says nothing one can ask about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// It is none of them.
    #[error("{0:?} is no hash, address, network, domain or URL; write cert:HASH for a certificate")]
    Text(String),
    /// The hash of a certificate is not one.
    #[error("{0:?} is no hash of a certificate: 64 (SHA-256), 40 (SHA-1) or 32 (MD5) hexadecimal digits")]
    Certificate(String),
}

/// The subjects that `text` means: one, or of a URL every expression that may be listed.
///
/// `HASH[:SIZE]`, `cert:HASH`, `ADDRESS[/PREFIX]`, a domain, or a URL with its scheme or a path.
///
/// # Errors
/// [`NotAsked`].
pub fn subjects(text: &str) -> Result<Vec<Subject>, NotAsked> {
    let text = text.trim();
    if let Some(hash) = text.strip_prefix("cert:") {
        let digest = Digest::parse(hash.as_bytes()).map_err(|_| NotAsked::Certificate(hash.to_owned()))?;
        return Ok(vec![Subject::Certificate(digest)]);
    }
    if let Some(subject) = file(text).or_else(|| network(text)) {
        return Ok(vec![subject]);
    }
    names(text).filter(|subjects| !subjects.is_empty()).ok_or_else(|| NotAsked::Text(text.to_owned()))
}

/// Of what was said about several subjects that stand for one: harm before doubt before the rest, and what is known
/// before what is not; then what is surer, and then what was said of the first, which is the most particular.
pub fn worst(verdicts: &[Verdict]) -> Verdict {
    let rank = |verdict: &Verdict| match verdict.reputation {
        Reputation::Malicious => 5,
        Reputation::Suspicious => 4,
        Reputation::Unavailable => 3,
        Reputation::Clean => 2,
        Reputation::Known => 1,
        Reputation::Unknown => 0,
    };
    // The last of equal ones is taken.
    let worst = verdicts.iter().rev().max_by_key(|verdict| (rank(verdict), verdict.confidence));
    worst.copied().unwrap_or(Verdict::unknown(std::time::Duration::ZERO))
}

fn file(text: &str) -> Option<Subject> {
    let (hash, size) = match text.split_once(':') {
        Some((hash, size)) => (hash, Some(size.parse().ok()?)),
        None => (text, None),
    };
    Digest::parse(hash.as_bytes()).ok().map(|digest| Subject::File(digest, size))
}

fn network(text: &str) -> Option<Subject> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Subject::Network(Network::address(address)));
    }
    let (address, prefix) = text.split_once('/')?;
    Network::new(address.parse().ok()?, prefix.parse().ok()?).ok().map(Subject::Network)
}

/// A domain is a URL without scheme and path; a list may have any domain that it is part of, or its address.
fn names(text: &str) -> Option<Vec<Subject>> {
    let url = CanonicalUrl::parse(text.as_bytes()).ok()?;
    let mut subjects = Vec::with_capacity(EXPRESSIONS_MOST + 8);
    if text.contains('/') {
        url.find_expression(|expression| {
            subjects.push(Subject::Url(expression.digest()));
            None::<()>
        });
    }
    match url.host() {
        Host::Address(address) => subjects.push(Subject::Network(Network::address(*address))),
        name @ Host::Name(text) => subjects.extend(name.suffixes(text).map(Subject::domain)),
    }
    Some(subjects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_means_what_it_says() {
        let one = |text: &str| subjects(text).unwrap();
        let hash = "275a021bbfb6489e54d471899f7db9d1";
        let digest = Digest::parse(hash.as_bytes()).unwrap();
        assert_eq!(one(hash), [Subject::File(digest, None)]);
        assert_eq!(one(&format!("{hash}:68")), [Subject::File(digest, Some(68))]);
        assert_eq!(one(&format!("cert:{hash}")), [Subject::Certificate(digest)]);
        assert_eq!(one("192.0.2.7"), [Subject::Network(Network::address("192.0.2.7".parse().unwrap()))]);
        assert_eq!(
            one("2001:db8::/32"),
            [Subject::Network(Network::new("2001:db8::".parse().unwrap(), 32).unwrap())]
        );
        assert!(one("A.Example").contains(&Subject::domain("a.example")));
        assert!(!one("a.example").iter().any(|subject| matches!(subject, Subject::Url(_))));
    }

    #[test]
    fn a_url_means_every_expression_of_it_and_the_domains_it_is_in() {
        let subjects = subjects("http://a.b.example/1/2.html?x=1").unwrap();
        for expression in ["a.b.example/1/2.html?x=1", "b.example/1/", "b.example/"] {
            assert!(subjects.contains(&Subject::url(expression)), "{expression}");
        }
        assert!(subjects.contains(&Subject::domain("b.example")));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", " ", "cert:12", "/", "http://"] {
            assert!(subjects(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn harm_outweighs_everything() {
        let verdict = |reputation| Verdict { reputation, ..Verdict::unknown(std::time::Duration::ZERO) };
        let all = Reputation::ALL.map(verdict);
        assert_eq!(worst(&all).reputation, Reputation::Malicious);
        assert_eq!(worst(&[]).reputation, Reputation::Unknown);
    }

    #[test]
    fn of_equal_harm_the_surer_is_told_and_then_the_more_particular() {
        let said = |confidence, source| Verdict {
            reputation: Reputation::Malicious,
            confidence,
            source,
            ..Verdict::unknown(std::time::Duration::ZERO)
        };
        assert_eq!(worst(&[said(90, 1), said(80, 2)]).source, 1);
        assert_eq!(worst(&[said(80, 1), said(90, 2), said(90, 3)]).source, 2);
    }
}
