//! What a person writes when they ask: a hash, an address, a domain or a URL.

use std::net::IpAddr;

use crate::subject::{Digest, Network, Subject};
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
/// before what is not.
pub fn worst(verdicts: &[Verdict]) -> Verdict {
    let rank = |verdict: &&Verdict| match verdict.reputation {
        Reputation::Malicious => 5,
        Reputation::Suspicious => 4,
        Reputation::Unavailable => 3,
        Reputation::Clean => 2,
        Reputation::Known => 1,
        Reputation::Unknown => 0,
    };
    verdicts.iter().max_by_key(rank).copied().unwrap_or(Verdict::unknown(std::time::Duration::ZERO))
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

fn names(text: &str) -> Option<Vec<Subject>> {
    (!text.contains('/')).then(|| vec![Subject::domain(&text.to_ascii_lowercase())])
}
