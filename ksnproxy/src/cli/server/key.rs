//! The key that signs a store's snapshots: `signing.key` in its folder, made when first needed.

use std::fs;
use std::io;
use std::path::Path;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use klnet_wire::identity::pem::{key_from_pem, key_to_pem};
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use zeroize::Zeroizing;

use super::failure::Failure;

/// The store's key, a new one when there is none.
pub(super) fn open_or_make(store: &Path) -> Result<SigningKey, Failure> {
    let path = store.join(FILE);
    match fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => key_from_pem(&text).ok_or(Failure::NotAKey { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SigningKey::generate_ed25519();
            let text = Zeroizing::new(key_to_pem(&key));
            write_secret(&path, text.as_bytes()).map_err(|error| Failure::KeyFile { path, error })?;
            Ok(key)
        }
        Err(error) => Err(Failure::KeyFile { path, error }),
    }
}

/// The store's key, which must be there.
pub(super) fn open(store: &Path) -> Result<SigningKey, Failure> {
    let path = store.join(FILE);
    let text = fs::read_to_string(&path).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::KeyFile { path: path.clone(), error })?;
    key_from_pem(&text).ok_or(Failure::NotAKey { path })
}

pub(super) fn parse_public(text: &str) -> Result<PublicKey, Failure> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let key = bytes.and_then(|bytes| PublicKey::try_from(&bytes[..]).ok());
    key.ok_or_else(|| Failure::PublicKey(text.to_owned()))
}

pub(super) fn print_public(key: &PublicKey) -> String {
    HEXLOWER.encode(key.as_bytes())
}

const FILE: &str = "signing.key";
