use std::time::{Duration, SystemTime};

use super::*;
use crate::id::TenantId;
use crate::identity::Role;
use crate::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use crate::identity::crl::{Crl, Crls};
use crate::identity::pem::{chain_to_pem, crls_to_pem, key_to_pem};
use crate::identity::secret_file::write_secret;
use crate::keyset::Key;
use crate::signed::Context;
use crate::signing::SigningKey;

#[test]
fn a_folder_reads_as_its_agent_wrote_it() {
    let place = Place::new();
    let state = State::read(place.folder.path()).unwrap();
    assert_eq!(state.identity.chain, place.identity.chain);
    assert_eq!((state.trust, state.issuers), (place.authority.trust().clone(), place.issuers()));
    let lists: Vec<_> =
        state.crls.iter().map(|der| Crl::verify(der, place.issuers()).unwrap().number()).collect();
    assert_eq!(lists, [7]);
    place.write(TRUST, &place.authority.trust().to_set().encode_to_vec());
    assert_eq!(State::read(place.folder.path()).unwrap().trust, *place.authority.trust());
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_taken_of_the_others() {
    for name in [KEY, CHAIN, TRUST, KEYS, CRLS] {
        for damage in ["", "garbage", "-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n"] {
            let place = Place::new();
            place.write(name, damage.as_bytes());
            let error = State::read(place.folder.path()).map(drop).expect_err(name).to_string();
            // That a chain is of another key is said of the chain.
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}

#[test]
fn a_file_that_does_not_end_is_not_read_to_its_end() {
    let place = Place::new();
    place.write(CHAIN, &vec![b'-'; FILE_LIMIT + 1]);
    assert!(matches!(State::read(place.folder.path()), Err(StateError::Damaged { .. })));
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    place.write(KEY, key_to_pem(&other.identity.key).as_bytes());
    assert!(matches!(State::read(place.folder.path()), Err(StateError::Damaged { .. })));
}

#[test]
fn roots_of_another_fabric_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    place.write(TRUST, &other.authority.trust().to_set().encode_to_vec());
    assert!(matches!(State::read(place.folder.path()), Err(StateError::Damaged { .. })));
}

#[test]
fn what_cannot_be_used_says_why() {
    let place = Place::new();
    place.write(KEY, b"pkcs11:token=klnet;object=device");
    assert!(matches!(State::read(place.folder.path()), Err(StateError::InToken(_))));
    fs::remove_file(place.folder.path().join(AGENT)).unwrap();
    assert!(matches!(State::read(place.folder.path()), Err(StateError::NotEnrolled(_))));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::set_permissions(place.folder.path().join(KEY), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(State::read(place.folder.path()), Err(StateError::Permissions(_))));
}

/// An enrolled device.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
    identity: Identity,
}

impl Place {
    fn new() -> Self {
        let (root, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root, now).unwrap();
        let authority = Authority::make(trust, &root, SigningKey::generate_p256(), now).unwrap();
        let key = SigningKey::generate_p256();
        let principal = Principal {
            fabric: authority.trust().fabric(),
            tenant: TenantId::random(),
            role: Role::Agent,
            id: [7; 16],
            serial: Vec::new(),
        };
        let leaf = Leaf::new(principal, Vec::new(), now, AGENT_LIFE);
        let identity = Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key };
        let place = Self { folder: tempfile::tempdir().unwrap(), authority, identity };
        place.write(KEY, key_to_pem(&place.identity.key).as_bytes());
        place.write(CHAIN, chain_to_pem(&place.identity.chain).as_bytes());
        place.write(KEYS, &place.keys(&root));
        let crls = Crls::default();
        let _ = crls.take(Crl::verify(&place.list(7), place.issuers()).unwrap()).unwrap();
        place.write(CRLS, crls_to_pem(&crls.all()).as_bytes());
        place.write(AGENT, b"{}");
        place
    }

    fn keys(&self, root: &SigningKey) -> Vec<u8> {
        let public = Bytes::copy_from_slice(self.authority.key().public().as_bytes());
        let key = Key { purpose: Purpose::Issue.into(), public, not_before: 0, not_after: u64::MAX };
        let fabric = Bytes::copy_from_slice(self.authority.trust().fabric().as_bytes());
        let set = KeySet { fabric, version: 1, keys: vec![key] };
        root.sign(Context::KeySet, set.encode_to_vec().into()).encode_to_vec()
    }

    fn issuers(&self) -> Vec<PublicKey> {
        vec![self.authority.key().public().clone()]
    }

    fn list(&self, number: u64) -> Vec<u8> {
        self.authority.revoke(number, &[], SystemTime::now(), Duration::from_secs(60)).unwrap()
    }

    fn write(&self, name: &str, content: &[u8]) {
        write_secret(&self.folder.path().join(name), content).unwrap();
    }
}
