//! Private keys in a token: made there, found again, and signed with.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::token::{Open, Token, failed};
use super::uri::ObjectId;
use crate::signed::PublicKey;
use crate::signing::{KeyError, SigningKey};

/// A P-256 private key in a token.
#[derive(Debug)]
pub struct TokenKey {
    token: Token,
    id: ObjectId,
    public: PublicKey,
}

impl Token {
    /// The private key that the URI names, which is made now when it is not there.
    ///
    /// # Errors
    /// [`KeyError`]; one that is there and could leave the token is refused.
    pub fn named_key(&self) -> Result<SigningKey, KeyError> {
        let uri = self.uri();
        let mut wanted = vec![Attribute::Label(uri.object.clone().into_bytes())];
        wanted.extend(uri.id.clone().map(Attribute::Id));
        self.key(|open| match one_private(&open.session, &wanted, &uri.object) {
            Err(KeyError::NoKey(_)) if uri.id.is_none() => make(open, &uri.object),
            found => public_half(&open.session, found?, &uri.object),
        })
    }

    /// Makes a further private key, beside the one that the URI names.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn another_key(&self) -> Result<SigningKey, KeyError> {
        let label = format!("{}-{}", self.uri().object, HEXLOWER.encode(&random::<4>()));
        self.key(|open| make(open, &label))
    }

    /// The private key `id`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn stored_key(&self, id: &ObjectId) -> Result<SigningKey, KeyError> {
        let object = id.to_string();
        self.key(|open| {
            let private = one_private(&open.session, &[Attribute::Id(id.0.clone())], &object)?;
            public_half(&open.session, private, &object)
        })
    }

    /// The private key `id`, whose public half is known; nothing is opened before it is used.
    pub fn known_key(&self, id: ObjectId, public: PublicKey) -> SigningKey {
        SigningKey::in_token(TokenKey { token: self.clone(), id, public })
    }

    fn key(
        &self,
        find: impl Fn(&Open) -> Result<(ObjectId, PublicKey), KeyError>,
    ) -> Result<SigningKey, KeyError> {
        let (id, public) = self.with(find)?;
        Ok(self.known_key(id, public))
    }
}

impl TokenKey {
    /// Signs in the form of blobs: 64 bytes, as PKCS #11 gives them. What the token signs with is another key than is
    /// known by that name when the signature does not fit.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let (object, hash) = (self.id.to_string(), digest(&SHA256, message));
        let signature = self.token.with(|open| {
            let key = one_private(&open.session, &[Attribute::Id(self.id.0.clone())], &object)?;
            // Hashed here: not every token has ECDSA with SHA-256 in one.
            open.session.sign(&Mechanism::Ecdsa, key, hash.as_ref()).map_err(failed)
        })?;
        let fits = self.public.verify(message, &signature).is_ok();
        let signature = <[u8; 64]>::try_from(signature).ok().filter(|_| fits);
        signature.ok_or(KeyError::Unfit { object, reason: "it is not the one of this device's certificate" })
    }

    /// Signs in the form of X.509 and TLS: `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279, 2.2.3).
    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(asn1(&self.sign(message)?))
    }

    /// Whether the key is there now.
    pub(crate) fn ready(&self) -> Result<(), KeyError> {
        let object = self.id.to_string();
        self.token
            .with(|open| one_private(&open.session, &[Attribute::Id(self.id.0.clone())], &object).map(drop))
    }

    pub(crate) const fn id(&self) -> &ObjectId {
        &self.id
    }

    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// The one private key with these attributes.
fn one_private(session: &Session, wanted: &[Attribute], object: &str) -> Result<ObjectHandle, KeyError> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
    template.extend_from_slice(wanted);
    match session.find_objects(&template).map_err(failed)?[..] {
        [] => Err(KeyError::NoKey(object.to_owned())),
        [key] => Ok(key),
        _ => Err(unfit(object, "several have this name: give one by its id")),
    }
}

/// What names a private key for ever, and its public half, when it may be a device's.
fn public_half(
    session: &Session,
    key: ObjectHandle,
    object: &str,
) -> Result<(ObjectId, PublicKey), KeyError> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::Sign,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Id,
    ];
    let found = session.get_attributes(key, &asked).map_err(failed)?;
    if !found.contains(&Attribute::KeyType(KeyType::EC)) || !found.contains(&Attribute::Sign(true)) {
        return Err(unfit(object, "it is not an EC key that signs"));
    }
    if !found.contains(&Attribute::Sensitive(true)) || !found.contains(&Attribute::Extractable(false)) {
        return Err(unfit(object, "it could leave the token"));
    }
    let id = found.into_iter().find_map(|attribute| match attribute {
        Attribute::Id(id) if !id.is_empty() => Some(id),
        _ => None,
    });
    let id = id.ok_or(unfit(object, "it has no CKA_ID"))?;
    let public =
        [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Token(true), Attribute::Id(id.clone())];
    match session.find_objects(&public).map_err(failed)?[..] {
        [public] => Ok((ObjectId(id), point(session, public, object)?)),
        _ => Err(unfit(object, "there is not one public key with its CKA_ID")),
    }
}

/// Makes a P-256 key that cannot leave the token. It is named by a digest of its public half, where the token lets that be
/// changed afterwards, and by a number drawn for it otherwise.
fn make(open: &Open, label: &str) -> Result<(ObjectId, PublicKey), KeyError> {
    in_writable_session(&open.module, open.slot, |session| {
        let id = random::<20>().to_vec();
        let named = [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(id.clone())];
        let public = [Attribute::EcParams(P256.to_vec()), Attribute::Verify(true), Attribute::Private(false)];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let (public, private) = ([&named[..], &public].concat(), [&named[..], &private].concat());
        let made = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
        let (public, private) = made.map_err(failed)?;
        let kept = point(session, public, label).and_then(|point| {
            let digest = digest(&SHA256, point.as_bytes()).as_ref().to_vec();
            let renamed =
                [private, public].map(|key| session.update_attributes(key, &[Attribute::Id(digest.clone())]));
            let id = if renamed.iter().all(Result::is_ok) { digest } else { id };
            // Also whether the token has made what it was asked for.
            public_half(session, private, label).map(|_| (ObjectId(id), point))
        });
        if kept.is_err() {
            // What nobody will use; the error that is told is the first one.
            let _ = [private, public].map(|key| session.destroy_object(key));
        }
        kept
    })
}

fn in_writable_session<T>(
    module: &Pkcs11,
    slot: Slot,
    work: impl FnOnce(&Session) -> Result<T, KeyError>,
) -> Result<T, KeyError> {
    let session = module.open_rw_session_no_drop(slot).map_err(failed)?;
    let done = work(&session);
    // What was made is made.
    let _ = session.close();
    done
}

/// A public key's point. The standard wraps it in an OCTET STRING; some tokens do not.
fn point(session: &Session, key: ObjectHandle, object: &str) -> Result<PublicKey, KeyError> {
    let asked = [AttributeType::EcParams, AttributeType::EcPoint];
    let found = session.get_attributes(key, &asked).map_err(failed)?;
    let point = found.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point.strip_prefix(&OCTET_STRING[..]).unwrap_or(point)),
        _ => None,
    });
    let is_p256 = found.contains(&Attribute::EcParams(P256.to_vec()));
    let point = point.filter(|_| is_p256).and_then(|point| <[u8; 65]>::try_from(point).ok());
    point
        .filter(|point| point[0] == 4)
        .map(PublicKey::P256)
        .ok_or(unfit(object, "it is not on the curve P-256"))
}

fn unfit(object: &str, reason: &'static str) -> KeyError {
    KeyError::Unfit { object: object.to_owned(), reason }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

fn asn1(signature: &[u8; 64]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let content = [integer(r), integer(s)].concat();
    // At most 70 bytes: the short form of a length.
    [&[0x30, length(&content)], &content[..]].concat()
}

/// A positive INTEGER in DER: no zeros in front, but one where the first bit would be a sign.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take(bytes.len() - 1).take_while(|byte| **byte == 0).count();
    let sign = if bytes[zeros] >= 0x80 { &[0][..] } else { &[] };
    let content = [sign, &bytes[zeros..]].concat();
    [&[0x02, length(&content)], &content[..]].concat()
}

fn length(content: &[u8]) -> u8 {
    u8::try_from(content.len()).expect("two numbers of 32 bytes fit in 127")
}

/// The object identifier of the curve, in DER: prime256v1 (RFC 5480, 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What comes before 65 bytes in an OCTET STRING.
const OCTET_STRING: [u8; 2] = [0x04, 65];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::signed::Context;

    #[test]
    fn a_signature_is_the_same_in_both_forms() {
        let key = SigningKey::generate_p256();
        // Every other has a number whose first bit is set, every 128th one that is short.
        for number in 0..1024_u32 {
            let signed = key.sign(Context::Grant, Bytes::copy_from_slice(&number.to_be_bytes()));
            let message = Context::Grant.message(&signed.bytes);
            let fixed = <[u8; 64]>::try_from(&signed.signature[..]).unwrap();
            key.public().verify_asn1(&message, &asn1(&fixed)).unwrap();
        }
    }

    #[test]
    fn an_integer_has_neither_sign_nor_zeros_in_front() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80, 1]), [2, 3, 0, 0x80, 1]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }
}
