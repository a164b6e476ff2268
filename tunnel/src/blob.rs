//! The tunnel blob: the text an operator pastes. Useless without the operator's own key.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::signed::{PublicKey, Signed};
use prost::Message as _;
use zeroize::Zeroizing;

use crate::grant::{Grant, GrantError, Host};
use crate::label::LabelSecret;

/// What an initiator needs to redeem a grant. [`fmt::Display`] gives the text, which is as secret as the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The exact bytes of the grant, with their signature.
    pub signed: Signed,
    /// The same grant, read.
    pub grant: Grant,
    /// Name or address of the relay.
    pub relay: Host,
    /// The relay's tunnel ports, at least one.
    pub ports: Vec<u16>,
    /// Makes the labels.
    pub secret: LabelSecret,
    /// The device's key, which the target must prove.
    pub agent: PublicKey,
    /// The session must have begun by then, Unix seconds; for people, no part decides by it.
    pub expires: u64,
}

/// Text that is no tunnel blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Does not begin as blobs do.
    #[error("a tunnel blob begins with {PREFIX}")]
    Prefix,
    /// Longer than any blob.
    #[error("tunnel blob of {0} bytes exceeds the limit of {TEXT_LIMIT}")]
    TooLong(usize),
    /// A part is missing or changed.
    #[error("the tunnel blob is incomplete or damaged: paste it again")]
    Damaged,
    /// The grant in it cannot be read.
    #[error("the tunnel blob's grant: {0}")]
    Grant(#[from] GrantError),
}

impl FromStr for Blob {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
        let text = text.trim();
        if text.len() > TEXT_LIMIT {
            return Err(BlobError::TooLong(text.len()));
        }
        let digits = text.strip_prefix(PREFIX).ok_or(BlobError::Prefix)?;
        let bytes = BASE64URL_NOPAD.decode(digits.as_bytes()).map_err(|_| BlobError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let raw = Raw::decode(&bytes[..]).map_err(|_| BlobError::Damaged)?;
        match raw.encode_to_vec() == *bytes {
            true => Self::try_from(raw),
            false => Err(BlobError::Damaged),
        }
    }
}

impl TryFrom<Raw> for Blob {
    type Error = BlobError;

    fn try_from(raw: Raw) -> Result<Self, BlobError> {
        let signed = raw.grant.ok_or(BlobError::Damaged)?;
        let secret = <[u8; 32]>::try_from(&raw.secret[..]).map_err(|_| BlobError::Damaged)?;
        let ports = raw.ports.iter().map(|port| u16::try_from(*port).ok().filter(|port| *port != 0));
        let ports: Vec<u16> = ports.collect::<Option<_>>().ok_or(BlobError::Damaged)?;
        let relay = Host::parse(&raw.relay).map_err(|_| BlobError::Damaged)?;
        // Nothing expires at second 0: it stands last, so a blob that lacks it was cut short.
        if relay == Host::Device || ports.is_empty() || ports.len() > PORTS_LIMIT || raw.expires == 0 {
            return Err(BlobError::Damaged);
        }
        let agent = PublicKey::try_from(&raw.agent[..]).map_err(|_| BlobError::Damaged)?;
        let PublicKey::P256(_) = agent else { return Err(BlobError::Damaged) };
        let grant = Grant::read(&signed.bytes)?;
        Ok(Self {
            signed,
            grant,
            relay,
            ports,
            secret: LabelSecret::new(secret),
            agent,
            expires: raw.expires,
        })
    }
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = Raw {
            grant: Some(self.signed.clone()),
            relay: self.relay.to_string(),
            ports: self.ports.iter().map(|port| (*port).into()).collect(),
            secret: self.secret.as_bytes().to_vec(),
            agent: self.agent.as_bytes().to_vec(),
            expires: self.expires,
        };
        let bytes = Zeroizing::new(raw.encode_to_vec());
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(message, optional, tag = "1")]
    grant: Option<Signed>,
    #[prost(string, tag = "2")]
    relay: String,
    #[prost(uint32, repeated, tag = "3")]
    ports: Vec<u32>,
    #[prost(bytes = "vec", tag = "4")]
    secret: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    agent: Vec<u8>,
    #[prost(uint64, tag = "6")]
    expires: u64,
}

/// Begins every blob; the number is the version of its format.
pub const PREFIX: &str = "klt1.";

/// Longest text that is read: four times what a blob needs.
pub const TEXT_LIMIT: usize = 4096;

/// Most tunnel ports in a blob: the whole range 29200-29299.
pub const PORTS_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use klnet_wire::signed::Context;
    use klnet_wire::signing::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::grant::tests::sample;

    #[test]
    fn a_blob_survives_its_text() {
        let blob = blob();
        assert_eq!(blob.to_string().parse(), Ok(blob.clone()));
        assert_eq!(format!("  {blob}\n").parse(), Ok(blob));
    }

    #[test]
    fn a_truncated_blob_says_so() {
        // Names of every length, so that cuts fall on every boundary between fields.
        for name in ["a.example", "ab.example", "abc.example"] {
            let text = Blob { relay: Host::parse(name).unwrap(), ..blob() }.to_string();
            for len in PREFIX.len()..text.len() {
                assert!(text[..len].parse::<Blob>().is_err(), "{len}");
            }
        }
    }

    #[test]
    fn other_text_is_refused() {
        assert_eq!("host:22".parse::<Blob>(), Err(BlobError::Prefix));
        assert_eq!("klt1.".parse::<Blob>(), Err(BlobError::Damaged));
        assert_eq!("klt1.!!".parse::<Blob>(), Err(BlobError::Damaged));
        let long = format!("{PREFIX}{}", "a".repeat(TEXT_LIMIT));
        assert_eq!(long.parse::<Blob>(), Err(BlobError::TooLong(long.len())));
    }

    #[test]
    fn a_blob_never_prints_its_secret() {
        assert!(format!("{:?}", blob()).contains("LabelSecret([redacted])"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(klt1\\.)?[A-Za-z0-9_-]{0,200}") {
            let _ = text.parse::<Blob>();
        }
    }

    fn blob() -> Blob {
        let grant = sample();
        let agent = grant.cnf.clone();
        let signed = SigningKey::generate_ed25519().sign(Context::Grant, grant.encode());
        let relay = Host::parse("relay.example.org").unwrap();
        let secret = LabelSecret::new([7; 32]);
        Blob { signed, grant, relay, ports: vec![29_200], secret, agent, expires: 1_700_000_060 }
    }
}
