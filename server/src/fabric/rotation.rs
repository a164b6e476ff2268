//! Rotation: another root, issuing authority and online keys, as one step that a crash leaves undone or done.
//!
//! ```text
//! staged in `rotation/` ──▶ `rotation/complete` written ──▶ each file moved to its place ──▶ `rotation/` removed
//!     a crash: undone                    a crash: the next start moves the rest
//! ```
//! The old root signs the next one ([`klnet_wire::lineage`]), so whoever knows the old one follows; it stays trusted
//! until the rotation after the next.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use klnet_wire::identity::Trust;
use klnet_wire::identity::authority::{Authority, make_next_root};
use klnet_wire::identity::pem::{chain_to_pem, key_to_pem};
use klnet_wire::keyset::{KeySet, Purpose};
use klnet_wire::lineage::TrustSet;
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;
use prost::Message;

use super::{
    AUTHORITY, AUTHORITY_KEY, DIRECTORY_KEY, DISTRIBUTION_KEY, Fabric, FabricError, GRANT_KEY, KEYS, LINEAGE,
    OLD_AUTHORITY, OLD_AUTHORITY_KEY, ROOT, ROOT_KEY, key, key_set, server, write,
};

impl Fabric {
    /// Gives the fabric in `folder` another root, authority and online keys. A running server goes on with the old
    /// ones until it is reloaded.
    ///
    /// # Errors
    /// [`FabricError::RootKey`] unless `root_key` is that of the newest root; or what the file system says.
    pub fn rotate(folder: &Path, root_key: &SigningKey, now: SystemTime) -> Result<Self, FabricError> {
        let _lock = lock(folder)?;
        let old = Self::load_locked(folder)?;
        if old.trust().root_keys().first() != Some(root_key.public()) {
            return Err(FabricError::RootKey);
        }
        old.stage(&folder.join(STAGE), root_key, now)?;
        Self::load_locked(folder)
    }

    fn stage(&self, stage: &Path, root_key: &SigningKey, now: SystemTime) -> Result<(), FabricError> {
        let (next_root_key, authority_key) = (SigningKey::generate_p256(), SigningKey::generate_p256());
        let (grant_key, directory_key) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let distribution_key = SigningKey::generate_ed25519();
        let next_root = make_next_root(&next_root_key, self.trust().fabric(), now)?;
        let set = TrustSet {
            version: self.trust().version() + 1,
            roots: vec![next_root.to_set().roots[0].clone(), self.trust().to_set().roots[0].clone()],
            ..self.trust().to_set()
        };
        let trust = Trust::of_set(&set)?;
        let mut lineage = self.lineage.clone();
        lineage.sets.push(root_key.sign(Context::TrustSet, set.encode_to_vec().into()));
        let authority = Authority::make(trust, &next_root_key, authority_key.clone(), now)?;
        let keys = self.next_keys([&grant_key, &directory_key, &distribution_key, &authority_key], now);
        let roots: Vec<_> = next_root.roots().iter().chain(self.ever.roots()).cloned().collect();
        for (name, key) in [
            (ROOT_KEY, &next_root_key),
            (AUTHORITY_KEY, &authority_key),
            (OLD_AUTHORITY_KEY, self.authority.key()),
            (GRANT_KEY, &grant_key),
            (DIRECTORY_KEY, &directory_key),
            (DISTRIBUTION_KEY, &distribution_key),
        ] {
            write(stage, name, key_to_pem(key).as_bytes())?;
        }
        for (name, certificates) in [
            (ROOT, roots.as_slice()),
            (AUTHORITY, std::slice::from_ref(authority.certificate())),
            (OLD_AUTHORITY, std::slice::from_ref(self.authority.certificate())),
        ] {
            write(stage, name, chain_to_pem(certificates).as_bytes())?;
        }
        write(
            stage,
            KEYS,
            &next_root_key.sign(Context::KeySet, keys.encode_to_vec().into()).encode_to_vec(),
        )?;
        write(stage, LINEAGE, &lineage.encode_to_vec())?;
        write(stage, COMPLETE, b"")
    }

    /// The next key set: the new online keys; the old authority, which signs revocation lists of its certificates; and the
    /// old distribution key, whose objects are still good.
    fn next_keys(
        &self,
        [grant, directory, distribution, authority]: [&SigningKey; 4],
        now: SystemTime,
    ) -> KeySet {
        let mut keys = vec![
            key(Purpose::Grant, grant.public(), now),
            key(Purpose::Directory, directory.public(), now),
            key(Purpose::Distribute, distribution.public(), now),
            key(Purpose::Issue, authority.public(), now),
            key(Purpose::Issue, self.authority.key().public(), now),
        ];
        let old = self.distribution.iter();
        keys.extend(old.map(|old| key(Purpose::Distribute, old.public(), now)));
        key_set(self.trust().fabric(), self.keys.version + 1, keys)
    }
}

/// Waits for whoever rotates or loads the fabric: nobody sees half a rotation, or ends another's.
pub(super) fn lock(folder: &Path) -> Result<fs::File, FabricError> {
    let path = folder.join(LOCK);
    let io = |error| FabricError::Io { path: path.clone(), error };
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}

/// Ends a rotation that was interrupted: what was staged whole is moved to its place, anything less is dropped.
pub(super) fn finish(folder: &Path) -> Result<(), FabricError> {
    let stage = folder.join(STAGE);
    if stage.join(COMPLETE).exists() {
        for name in MOVED {
            gone(fs::rename(stage.join(name), folder.join(name)), folder, name)?;
        }
        // They are of the old authority.
        for name in [server::CURRENT, server::RESERVE] {
            gone(fs::remove_file(folder.join(name)), folder, name)?;
        }
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        gone(synced, folder, STAGE)?;
    }
    gone(fs::remove_dir_all(&stage), folder, STAGE)
}

/// What is not there any more was done before the interruption.
fn gone(done: io::Result<()>, folder: &Path, name: &str) -> Result<(), FabricError> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FabricError::Io { path: folder.join(name), error })
        }
        _ => Ok(()),
    }
}

const STAGE: &str = "rotation";
const LOCK: &str = "rotation.lock";
const COMPLETE: &str = "complete";
/// Every file that a rotation replaces.
const MOVED: [&str; 11] = [
    ROOT_KEY,
    AUTHORITY_KEY,
    OLD_AUTHORITY_KEY,
    GRANT_KEY,
    DIRECTORY_KEY,
    DISTRIBUTION_KEY,
    ROOT,
    AUTHORITY,
    OLD_AUTHORITY,
    KEYS,
    LINEAGE,
];

#[cfg(test)]
mod tests {
    use super::super::signing_key;
    use super::*;

    #[test]
    fn a_rotated_fabric_is_the_same_fabric_under_another_root() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let first = Fabric::init(folder.path(), now).unwrap();
        for version in 1..=3 {
            let before = Fabric::load(folder.path()).unwrap();
            let after = Fabric::rotate(folder.path(), &root_key(folder.path()), now).unwrap();
            assert_eq!((after.trust().fabric(), after.trust().version()), (first.trust().fabric(), version));
            assert_eq!(after.trust().roots()[1], *before.trust().root());
            assert_eq!(first.trust().follow(after.lineage()).as_ref(), Some(after.trust()));
            assert_eq!(after.keys().version, version + 1);
            assert_eq!((after.tenant(), after.server()), (first.tenant(), first.server()));
        }
    }

    #[test]
    fn only_the_newest_roots_key_rotates() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        Fabric::init(folder.path(), now).unwrap();
        let old = root_key(folder.path());
        Fabric::rotate(folder.path(), &old, now).unwrap();
        for wrong in [&old, &SigningKey::generate_p256()] {
            assert!(matches!(Fabric::rotate(folder.path(), wrong, now), Err(FabricError::RootKey)));
        }
    }

    #[test]
    fn a_rotation_that_is_interrupted_anywhere_is_undone_or_done() {
        for interrupted in 0..=MOVED.len() {
            let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
            let old = Fabric::init(folder.path(), now).unwrap();
            let stage = folder.path().join(STAGE);
            old.stage(&stage, &root_key(folder.path()), now).unwrap();
            for name in MOVED.iter().take(interrupted) {
                fs::rename(stage.join(name), folder.path().join(name)).unwrap();
            }
            let after = Fabric::load(folder.path()).unwrap();
            assert_eq!((after.trust().version(), stage.exists()), (1, false), "after {interrupted} files");
        }
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let old = Fabric::init(folder.path(), now).unwrap();
        old.stage(&folder.path().join(STAGE), &root_key(folder.path()), now).unwrap();
        fs::remove_file(folder.path().join(STAGE).join(COMPLETE)).unwrap();
        assert_eq!(Fabric::load(folder.path()).unwrap().trust(), old.trust(), "it never began");
    }

    #[test]
    fn whoever_loads_the_fabric_waits_for_a_rotation_under_way() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let old = Fabric::init(folder.path(), now).unwrap();
        let rotating = lock(folder.path()).unwrap();
        let (path, key) = (folder.path().to_owned(), root_key(folder.path()));
        let loading = std::thread::spawn(move || Fabric::load(&path).unwrap().trust().version());
        old.stage(&folder.path().join(STAGE), &key, now).unwrap();
        drop(rotating);
        assert_eq!(loading.join().unwrap(), 1, "nothing that was staged is dropped");
    }

    fn root_key(folder: &Path) -> SigningKey {
        signing_key(folder, ROOT_KEY).unwrap()
    }
}
