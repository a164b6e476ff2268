//! The manifest: what an object is, signed by who made it.

use bytes::{BufMut, Bytes};
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;

use crate::id::ObjectId;
use crate::layout::{BLOCK_LOG2_LEAST, BLOCK_LOG2_MOST, CATALOGUE_LIMIT, Layout, SYMBOL_USUAL};
use crate::reader::{Malformed, Reader};

/// What an object is; one signature over it covers every byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What people call it; versions are compared among objects of one name.
    pub name: String,
    /// Greater than that of every older object of the name.
    pub version: u64,
    /// When it was made, in Unix seconds.
    pub issued: u64,
    /// When it stops being acceptable, in Unix seconds; 0 is never.
    pub expires: u64,
    /// Whom it is for; zeroes: whoever holds the group key.
    pub audience: [u8; 16],
    /// Bytes of content.
    pub length: u64,
    /// Bytes of the catalogue.
    pub catalogue_length: u32,
    /// BLAKE3 hash of the catalogue.
    pub catalogue: [u8; 32],
    /// Logarithm of a block's bytes.
    pub block_log2: u8,
}

impl Manifest {
    /// The bytes that are signed.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(FIXED + self.name.len());
        bytes.put_u8(FORMAT);
        bytes.put_u8(self.block_log2);
        bytes.put_u32(self.catalogue_length);
        for number in [self.length, self.version, self.issued, self.expires] {
            bytes.put_u64(number);
        }
        bytes.put_slice(&self.audience);
        bytes.put_slice(&self.catalogue);
        bytes.put_u8(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        bytes.put_slice(self.name.as_bytes());
        bytes.into()
    }

    /// Reads a manifest whose signature was checked before.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are anything else, or a field is out of its range.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FORMAT {
            return Err(Malformed);
        }
        let block_log2 = reader.u8()?;
        let catalogue_length = reader.u32()?;
        let [length, version, issued, expires] = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
        let (audience, catalogue) = (reader.array()?, reader.array()?);
        let name = usize::from(reader.u8()?);
        let name = reader.text(name, NAME_LIMIT)?.to_owned();
        reader.end()?;
        let manifest = Self {
            name,
            version,
            issued,
            expires,
            audience,
            length,
            catalogue_length,
            catalogue,
            block_log2,
        };
        if manifest.is_sound() { Ok(manifest) } else { Err(Malformed) }
    }

    /// Signs the manifest.
    ///
    /// # Errors
    /// [`Malformed`] when a field is out of its range: nobody would take it.
    pub fn sign(&self, key: &SigningKey) -> Result<Signed, Malformed> {
        if !self.is_sound() {
            return Err(Malformed);
        }
        Ok(key.sign(Context::MulticastManifest, self.encode()))
    }

    /// Reads a manifest that one of `signers` signed.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn verify(signed: &Signed, signers: &[PublicKey]) -> Result<Self, ManifestError> {
        let signer = signers.iter().find(|key| key.id() == signed.key_id[..]);
        let signer = signer.ok_or(ManifestError::UnknownSigner)?;
        let bytes =
            signed.verify(Context::MulticastManifest, signer).map_err(|_| ManifestError::BadSignature)?;
        Ok(Self::decode(bytes)?)
    }

    /// How the object is cut into symbols of this size; `None` for a size that is none.
    pub fn layout(&self, symbol: u16) -> Option<Layout> {
        Layout::new(self.catalogue_length, self.length, self.block_log2, symbol)
    }

    fn is_sound(&self) -> bool {
        (1..=NAME_LIMIT).contains(&self.name.len())
            && !self.name.chars().any(char::is_control)
            && (BLOCK_LOG2_LEAST..=BLOCK_LOG2_MOST).contains(&self.block_log2)
            && (1..=CATALOGUE_LIMIT).contains(&self.catalogue_length)
            && self.layout(SYMBOL_USUAL).is_some()
    }
}

/// The name of an object: its manifest's hash.
pub fn object_id(signed: &Signed) -> ObjectId {
    ObjectId(*blake3::hash(&signed.bytes).as_bytes())
}

/// Appends a signed blob: u16 length, bytes, key id, signature.
pub(crate) fn put_signed(bytes: &mut Vec<u8>, signed: &Signed) {
    bytes.put_u16(u16::try_from(signed.bytes.len()).unwrap_or(u16::MAX));
    bytes.put_slice(&signed.bytes);
    bytes.put_slice(&signed.key_id);
    bytes.put_slice(&signed.signature);
}

/// Reads what [`put_signed`] wrote.
pub(crate) fn read_signed(reader: &mut Reader<'_>) -> Result<Signed, Malformed> {
    let length = usize::from(reader.u16()?);
    if length > FIXED + NAME_LIMIT {
        return Err(Malformed);
    }
    let bytes = Bytes::copy_from_slice(reader.bytes(length)?);
    let key_id = Bytes::copy_from_slice(&reader.array::<8>()?);
    let signature = Bytes::copy_from_slice(&reader.array::<64>()?);
    Ok(Signed { bytes, key_id, signature })
}

/// Why a manifest is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// None of the signers that are known.
    #[error("the object is signed by a key that is not known here")]
    UnknownSigner,
    /// The signature is not of these bytes.
    #[error("the object's signature does not fit")]
    BadSignature,
    /// A signed manifest that says nothing sensible.
    #[error("the object's manifest: {0}")]
    Malformed(#[from] Malformed),
}

const FORMAT: u8 = 1;
/// Bytes of a manifest without its name.
const FIXED: usize = 1 + 1 + 4 + 4 * 8 + 16 + 32 + 1;
/// Bytes of the longest name.
pub const NAME_LIMIT: usize = 128;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_the_wire() {
        let manifest = sample();
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for cut in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..cut]), Err(Malformed), "{cut}");
        }
        assert_eq!(Manifest::decode(&[&bytes[..], &[0]].concat()), Err(Malformed), "something left over");
    }

    #[test]
    fn only_the_signers_own_bytes_are_taken() {
        let (key, other) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let signed = sample().sign(&key).unwrap();
        let signers = [other.public().clone(), key.public().clone()];
        assert_eq!(Manifest::verify(&signed, &signers), Ok(sample()));
        assert_eq!(Manifest::verify(&signed, &signers[..1]), Err(ManifestError::UnknownSigner));
        for bit in 0..signed.bytes.len() * 8 {
            let mut bytes = signed.bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let forged = Signed { bytes: bytes.into(), ..signed.clone() };
            assert_eq!(Manifest::verify(&forged, &signers), Err(ManifestError::BadSignature), "bit {bit}");
        }
        let session = key.sign(Context::MulticastSession, sample().encode());
        assert!(Manifest::verify(&session, &signers).is_err(), "a signature for something else");
    }

    #[test]
    fn what_nobody_would_take_is_not_signed() {
        let key = SigningKey::generate_ed25519();
        for name in [String::new(), "x".repeat(NAME_LIMIT + 1), "a\nb".to_owned()] {
            assert_eq!(Manifest { name, ..sample() }.sign(&key).map(drop), Err(Malformed));
        }
        assert!(Manifest { catalogue_length: 0, ..sample() }.sign(&key).is_err());
        assert!(Manifest { length: u64::MAX, ..sample() }.sign(&key).is_err());
    }

    pub(crate) fn sample() -> Manifest {
        Manifest {
            name: "base 7".to_owned(),
            version: 42,
            issued: 1_800_000_000,
            expires: 0,
            audience: [0; 16],
            length: 5 << 20,
            catalogue_length: 90,
            catalogue: [7; 32],
            block_log2: 22,
        }
    }
}
