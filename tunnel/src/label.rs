//! Labels and cookies: the names in first flights by which the relay knows a connection.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::{BASE32_NOPAD, Encoding, Specification};
use klnet_wire::id::GrantId;
use ring::hmac;
use zeroize::Zeroizing;

/// The name of connection *n* of a grant; only who holds the label secret can make it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label([u8; LEN]);

/// The name of one dial-back, drawn by the relay and shown once by the agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie([u8; LEN]);

/// What labels are made from; known to the relay and the holder of the blob.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelSecret(Zeroizing<[u8; 32]>);

impl Label {
    /// The label of connection `n` of `grant`: HMAC-SHA256(secret, grant || n), its first 20 bytes.
    pub fn of(secret: &LabelSecret, grant: GrantId, n: u32) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0[..]);
        let mut context = hmac::Context::with_key(&key);
        context.update(grant.as_bytes());
        context.update(&n.to_be_bytes());
        Self(truncated(context.sign()))
    }

    /// The server name an initiator shows: `t` and 32 base32 digits under [`DOMAIN`].
    pub fn server_name(&self) -> String {
        server_name('t', &self.0)
    }

    /// Reads a server name, in lower case; `None` when it is no label's.
    pub fn from_server_name(name: &str) -> Option<Self> {
        from_server_name('t', name).map(Self)
    }

    /// The label's bytes.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl Cookie {
    /// Makes the cookie with these bytes.
    pub const fn new(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }

    /// The cookie number `counter` of a relay: HMAC-SHA256(secret, counter), its first 20 bytes.
    pub fn of(secret: &[u8; 32], counter: u64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self(truncated(hmac::sign(&key, &counter.to_be_bytes())))
    }

    /// The server name a dial-back shows: `d` and 32 base32 digits under [`DOMAIN`].
    pub fn server_name(&self) -> String {
        server_name('d', &self.0)
    }

    /// Reads a server name, in lower case; `None` when it is no cookie's.
    pub fn from_server_name(name: &str) -> Option<Self> {
        from_server_name('d', name).map(Self)
    }

    /// The cookie's bytes.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Cookie {
    type Error = NotACookie;

    fn try_from(bytes: &[u8]) -> Result<Self, NotACookie> {
        bytes.try_into().map(Self).map_err(|_| NotACookie)
    }
}

/// Bytes that are no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cookie is {LEN} bytes")]
pub struct NotACookie;

impl LabelSecret {
    /// Makes the secret with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret's bytes, for the blob.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn truncated(tag: hmac::Tag) -> [u8; LEN] {
    *tag.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn server_name(kind: char, bytes: &[u8; LEN]) -> String {
    format!("{kind}{}{DOMAIN}", BASE32_LOWER.encode(bytes))
}

fn from_server_name(kind: char, name: &str) -> Option<[u8; LEN]> {
    let digits = name.strip_prefix(kind)?.strip_suffix(DOMAIN)?;
    let mut bytes = [0; LEN];
    if BASE32_LOWER.decode_len(digits.len()).ok()? != LEN {
        return None;
    }
    BASE32_LOWER.decode_mut(digits.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({})", BASE32_LOWER.encode(&self.0))
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({})", BASE32_LOWER.encode(&self.0))
    }
}

impl fmt::Debug for LabelSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LabelSecret([redacted])")
    }
}

/// RFC 4648 base32 in lower case without padding: 20 bytes are exactly 32 digits.
static BASE32_LOWER: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification: Specification = BASE32_NOPAD.specification();
    specification.symbols.make_ascii_lowercase();
    specification.encoding().expect("lower-case base32 is an encoding")
});

/// Bytes of a label or cookie.
pub const LEN: usize = 20;

/// Ends every server name of a first flight; never resolved (`.internal` is reserved for private use).
pub const DOMAIN: &str = ".klnet.internal";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_label_is_the_golden_one() {
        let label = Label::of(&LabelSecret::new([7; 32]), GrantId::new([1; 16]), 3);
        assert_eq!(label.server_name(), "tms44hppdpzbwkvviezw26pd5yrx3srz5.klnet.internal");
    }

    #[test]
    fn a_label_is_no_cookie_and_a_cookie_no_label() {
        let (label, cookie) = (Label([5; LEN]), Cookie([5; LEN]));
        assert_eq!(Cookie::from_server_name(&label.server_name()), None);
        assert_eq!(Label::from_server_name(&cookie.server_name()), None);
    }

    #[test]
    fn other_names_are_neither() {
        let good = Label([5; LEN]).server_name();
        let short = format!("t{}{DOMAIN}", "a".repeat(31));
        let long = format!("t{}{DOMAIN}", "a".repeat(33));
        for name in ["", "t", DOMAIN, "example.org", &good.to_uppercase(), &short, &long, &good[1..]] {
            assert_eq!(Label::from_server_name(name), None, "{name}");
        }
    }

    #[test]
    fn secrets_never_print_themselves() {
        assert_eq!(format!("{:?}", LabelSecret::new([9; 32])), "LabelSecret([redacted])");
    }

    proptest! {
        #[test]
        fn names_survive_the_wire(bytes: [u8; LEN]) {
            prop_assert_eq!(Label::from_server_name(&Label(bytes).server_name()), Some(Label(bytes)));
            prop_assert_eq!(Cookie::from_server_name(&Cookie(bytes).server_name()), Some(Cookie(bytes)));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,60}") {
            let _ = Label::from_server_name(&text);
        }
    }
}
