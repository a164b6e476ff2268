//! The state folder of an agent that is not there, and the fabric that it is enrolled in.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::identity::authority::{Authority, Leaf, make_root};
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::pem::{chain_to_pem, crls_to_pem, key_to_pem};
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::state::{AGENT, CHAIN, CRLS, KEY, KEYS, TRUST};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::lineage::TrustSet;
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;
use prost::Message as _;
use tempfile::TempDir;

/// A fabric that issues certificates.
pub(crate) struct Fabric {
    root: SigningKey,
    authority: Authority,
}

/// A state folder of a device that is `identity`.
pub(crate) struct Folder {
    place: TempDir,
    pub(crate) identity: Identity,
    lists: Crls,
}

impl Fabric {
    pub(crate) fn new() -> Self {
        let (root, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root, now).unwrap();
        let authority = Authority::make(trust, &root, SigningKey::generate_p256(), now).unwrap();
        Self { root, authority }
    }

    pub(crate) fn trust(&self) -> Trust {
        self.authority.trust().clone()
    }

    /// Another device.
    pub(crate) fn device(&self) -> Identity {
        self.certify(SigningKey::generate_p256(), *DeviceId::random().as_bytes())
    }

    /// Another certificate of a device that has one.
    pub(crate) fn renewed(&self, device: &Identity) -> Identity {
        self.certify(device.key.clone(), Principal::named_in(&device.chain[0]).unwrap().id)
    }

    fn certify(&self, key: SigningKey, id: [u8; 16]) -> Identity {
        let fabric = self.trust().fabric();
        let principal =
            Principal { fabric, tenant: TenantId::new([0; 16]), role: Role::Agent, id, serial: Vec::new() };
        let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), Duration::from_hours(24));
        Identity { chain: self.authority.issue(key.public(), &leaf).unwrap(), key }
    }

    fn keys(&self) -> Vec<u8> {
        let public = self.authority.key().public().as_bytes().to_vec().into();
        let key = Key { purpose: Purpose::Issue.into(), public, not_before: 0, not_after: u64::MAX };
        let fabric = self.trust().fabric().as_bytes().to_vec().into();
        let set = KeySet { fabric, version: 1, keys: vec![key] };
        self.root.sign(Context::KeySet, set.encode_to_vec().into()).encode_to_vec()
    }

    fn list(&self, number: u64, revoked: &[&Identity]) -> Vec<u8> {
        let serial = |device: &&Identity| (Principal::named_in(&device.chain[0]).unwrap().serial, 1);
        let revoked: Vec<_> = revoked.iter().map(serial).collect();
        self.authority.revoke(number, &revoked, SystemTime::now(), Duration::from_hours(24)).unwrap()
    }
}

impl Folder {
    /// As enrolment leaves it, with a list that nobody is on.
    pub(crate) fn enrolled(fabric: &Fabric) -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = Self { place, identity: fabric.device(), lists: Crls::default() };
        folder.write(KEY, key_to_pem(&folder.identity.key).as_bytes());
        folder.write(KEYS, &fabric.keys());
        folder.save_chain(&folder.identity);
        folder.revoke(fabric, 1, &[]);
        folder.write(AGENT, b"{}");
        folder
    }

    /// Has these devices on the list.
    pub(crate) fn revoke(&self, fabric: &Fabric, number: u64, devices: &[&Identity]) {
        let issuers = [fabric.authority.key().public().clone()];
        let (_, left_out) = self.lists.update(&issuers, &[fabric.list(number, devices)]);
        assert!(left_out.is_empty(), "{left_out:?}");
        self.write(CRLS, crls_to_pem(&self.lists.all()).as_bytes());
    }

    pub(crate) fn save_chain(&self, identity: &Identity) {
        self.write(CHAIN, chain_to_pem(&identity.chain).as_bytes());
    }

    /// Has the device be one of another fabric.
    pub(crate) fn moved(&self, fabric: &Fabric) {
        let roots = TrustSet { version: 1, ..fabric.trust().to_set() };
        let identity = fabric.certify(self.identity.key.clone(), [9; 16]);
        self.write(TRUST, &roots.encode_to_vec());
        self.write(KEYS, &fabric.keys());
        self.save_chain(&identity);
        self.revoke(fabric, 1, &[]);
    }

    /// Writes something that is none of it, and gives what was there.
    pub(crate) fn damage(&self, name: &str) -> Vec<u8> {
        let sound = fs::read(self.path().join(name)).unwrap();
        self.write(name, b"-----BEGIN");
        sound
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        write_secret(&self.path().join(name), content).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }
}
