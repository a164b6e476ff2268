//! What a bare text names, by its shape: a hash, an address, a network, a URL or a name.

use std::net::{IpAddr, Ipv4Addr};

use crate::subject::{Digest, Network, Subject};
use crate::url::{CanonicalUrl, Host};

/// What a text names. `None` when it is none of these.
pub(super) fn subject(text: &[u8]) -> Option<Subject> {
    if let Ok(digest) = Digest::parse(text) {
        return Some(Subject::File(digest, None));
    }
    if let Some(network) = network(text) {
        return Some(Subject::Network(network));
    }
    if memchr::memmem::find(text, b"://").is_some() {
        return CanonicalUrl::parse(text).ok().map(|url| Subject::Url(url.digest()));
    }
    domain(text)
}

/// A domain name; `*.name` and `.name` are everything below it.
pub(super) fn domain(text: &[u8]) -> Option<Subject> {
    let (below, name) = match text {
        [b'*', b'.', name @ ..] | [b'.', name @ ..] => (true, name),
        name => (false, name),
    };
    let name = name_of(name)?;
    Some(if below { Subject::domain(&format!("*.{name}")) } else { Subject::domain(&name) })
}

/// An address, or one with the length of a prefix.
pub(super) fn network(text: &[u8]) -> Option<Network> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('/') {
        None => text.parse().ok().map(Network::address),
        Some((address, prefix)) => Network::new(address.parse().ok()?, number(prefix)?).ok(),
    }
}

/// The address of `address:port` or `[address]:port`.
pub(super) fn without_port(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<std::net::SocketAddr>().map(|address| address.ip()).ok()
}

/// A name of letters, digits, hyphens and underscores, of at least two labels, in its canonical form.
fn name_of(text: &[u8]) -> Option<String> {
    let Ok(Host::Name(name)) = Host::parse(text) else { return None };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let plain = name.len() <= 253 && name.contains('.') && name.split('.').all(label);
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (plain && !is_number).then_some(name)
}

fn number(prefix: &str) -> Option<u8> {
    // A netmask is a prefix too: some lists have 10.0.0.0/255.0.0.0.
    match prefix.parse::<Ipv4Addr>() {
        Ok(mask) if mask.to_bits().leading_ones() + mask.to_bits().trailing_zeros() == 32 => {
            u8::try_from(mask.to_bits().leading_ones()).ok()
        }
        _ => prefix.parse().ok(),
    }
}
