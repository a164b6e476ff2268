//! Where a device's private keys are made: in files of its state folder, or in a token.

use klnet_wire::identity::pem::key_from_pem;
#[cfg(feature = "pkcs11")]
use klnet_wire::pkcs11::{ObjectId, Token};
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::{KeyError, SigningKey};

/// Where keys are made. One that was made elsewhere stays what it is until the next enrolment.
#[derive(Debug, Clone, Default)]
pub enum Keys {
    /// Here; they are kept in files.
    #[default]
    Files,
    /// In a token; files say which object of it each is.
    #[cfg(feature = "pkcs11")]
    Token(Token),
}

impl Keys {
    /// Makes a key. A token's is the one that the configuration names, which may be there already, or `another` one.
    pub(super) fn make(&self, another: bool) -> Result<SigningKey, KeyError> {
        match (self, another) {
            (Self::Files, _) => Ok(SigningKey::generate_p256()),
            #[cfg(feature = "pkcs11")]
            (Self::Token(token), true) => token.another_key(),
            #[cfg(feature = "pkcs11")]
            (Self::Token(token), false) => token.named_key(),
        }
    }

    /// The key of a file that was written when it was made; `None` when there is none, or not any more.
    pub(super) fn made(&self, text: &str) -> Result<Option<SigningKey>, KeyError> {
        match self {
            Self::Files => Ok(key_from_pem(text)),
            #[cfg(feature = "pkcs11")]
            Self::Token(token) => match text.trim().parse::<ObjectId>().map(|id| token.stored_key(&id)) {
                Ok(Err(KeyError::NoKey(_))) | Err(_) => Ok(None),
                Ok(key) => key.map(Some),
            },
        }
    }

    /// The key of a file, when its public half is this one: a token is not opened before it is used.
    pub(super) fn known(&self, text: &str, public: &PublicKey) -> Option<SigningKey> {
        let held = key_from_pem(text).filter(|key| key.public() == public);
        match self {
            Self::Files => held,
            #[cfg(feature = "pkcs11")]
            Self::Token(token) => {
                let id = text.trim().parse();
                held.or_else(|| id.ok().map(|id| token.known_key(id, public.clone())))
            }
        }
    }

    /// Whether they are in a token.
    pub const fn are_in_token(&self) -> bool {
        !matches!(self, Self::Files)
    }
}
