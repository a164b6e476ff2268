//! An operator's invitation: one line that says which fabric to trust, and proves once who may join it.
//!
//! ```text
//! kli1. base64url( protobuf { root pin, secret, name, url } )
//! ```

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use prost::Message;
use zeroize::Zeroizing;

/// What `klctl operator add` prints and `klctl login` takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the fabric's root certificate.
    pub root: [u8; 32],
    /// Proves that the holder was invited; the server keeps only its hash, and takes it once.
    pub secret: Zeroizing<[u8; 32]>,
    /// The operator's name.
    pub name: String,
    /// Where the server's API is, as the server knows it; may be empty.
    pub url: String,
}

/// Text that is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnInvitation {
    /// It begins otherwise.
    #[error("an invitation begins with {PREFIX}")]
    Prefix,
    /// It is absurdly long.
    #[error("the invitation exceeds the limit of {TEXT_LIMIT} characters")]
    Length,
    /// It is cut or changed.
    #[error("the invitation is damaged: was all of it copied?")]
    Damaged,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    root: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    secret: Vec<u8>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    url: String,
}

impl Invitation {
    /// Reads an invitation; spaces around it do not matter.
    ///
    /// # Errors
    /// [`NotAnInvitation`] when it is none.
    pub fn parse(text: &str) -> Result<Self, NotAnInvitation> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(NotAnInvitation::Prefix)?;
        if encoded.len() > TEXT_LIMIT {
            return Err(NotAnInvitation::Length);
        }
        Self::decode(encoded).ok_or(NotAnInvitation::Damaged)
    }

    fn decode(encoded: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
        let wire = Wire::decode(bytes.as_slice()).ok()?;
        let secret = Zeroizing::new(wire.secret);
        let sound = !wire.name.is_empty() && !wire.name.chars().any(char::is_control);
        sound.then_some(Self {
            root: wire.root.try_into().ok()?,
            secret: Zeroizing::new(secret.as_slice().try_into().ok()?),
            name: wire.name,
            url: wire.url,
        })
    }

    /// Writes the invitation as text; whoever reads it can use it, so it is not a `Display`.
    pub fn print(&self) -> String {
        let wire = Wire {
            root: self.root.to_vec(),
            secret: self.secret.to_vec(),
            name: self.name.clone(),
            url: self.url.clone(),
        };
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&wire.encode_to_vec()))
    }

    /// The secret as the login request carries it.
    pub fn token(&self) -> String {
        BASE64URL_NOPAD.encode(self.secret.as_slice())
    }
}

impl FromStr for Invitation {
    type Err = NotAnInvitation;

    fn from_str(text: &str) -> Result<Self, NotAnInvitation> {
        Self::parse(text)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("secret", &"[redacted]")
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What every invitation of this version begins with.
const PREFIX: &str = "kli1.";
/// Longest encoded part: two hashes, a name and a URL have under 300 characters.
const TEXT_LIMIT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_invitation_survives_its_text() {
        for url in ["", "https://server:8443"] {
            let invitation = Invitation { url: url.to_owned(), ..invitation() };
            let again = Invitation::parse(&format!("  {}\n", invitation.print())).unwrap();
            assert_eq!(again, invitation);
        }
    }

    #[test]
    fn an_invitation_is_never_cut_short_or_damaged_unnoticed() {
        let text = invitation().print();
        for length in 0..text.len() {
            assert!(Invitation::parse(&text[..length]).is_err(), "{length}");
        }
        assert_eq!(Invitation::parse("klt1.abc"), Err(NotAnInvitation::Prefix));
        assert_eq!(Invitation::parse("kli1.???"), Err(NotAnInvitation::Damaged));
        let long = format!("kli1.{}", "A".repeat(TEXT_LIMIT + 1));
        assert_eq!(Invitation::parse(&long), Err(NotAnInvitation::Length));
    }

    #[test]
    fn the_secret_does_not_print() {
        assert!(!format!("{:?}", invitation()).contains("7, 7"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Invitation::parse(&text);
            let _ = Invitation::parse(&format!("kli1.{}", BASE64URL_NOPAD.encode(text.as_bytes())));
        }
    }

    fn invitation() -> Invitation {
        Invitation { root: [9; 32], secret: Zeroizing::new([7; 32]), name: "anna".into(), url: String::new() }
    }
}
