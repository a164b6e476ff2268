//! A full disk: refused with a clear reason, nothing lost, served again once there is space.

use std::{fs, io::Write, path::Path, process::Command};

use super::*;
use crate::store::{Unavailable, sqlite::medium::Medium};

#[tokio::test]
async fn full_disk_refuses_commits_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a tmpfs of its own needs root");
        return;
    };
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 512 << 10]).expect("an empty disk");
    let store = SqliteStore::open(&disk.path().join(FILE)).expect("space for an empty store");
    let (mut kept, refused) = fill(&store).await;
    assert_eq!(refused, CommitError::Unavailable(Unavailable::DiskFull));
    assert!(kept > 5, "a disk of 2 MiB took only {kept} commits");

    fs::remove_file(&filler).expect("it was written");
    store.commit(OpId::random(), vec![], vec![large(kept)]).await.expect("there is space again");
    kept += 1;
    drop(store);

    let store = SqliteStore::open(&disk.path().join(FILE)).expect("a healthy store");
    for n in 0..=kept {
        let (entry, _) = store.get(large(n).key(), Read::Linearizable).await.expect("readable");
        assert_eq!(entry.is_some(), n < kept, "exactly what was acknowledged: commit {n} of {kept}");
    }
}

#[tokio::test]
async fn reserve_lets_a_full_disk_clean_up_and_is_put_aside_again() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a tmpfs of its own needs root");
        return;
    };
    let medium = Medium { reserve: 256 << 10, ..Medium::DISK };
    let store = SqliteStore::open_on(&disk.path().join(FILE), medium).expect("space for an empty store");
    let reserve = disk.path().join(format!("{FILE}.reserve"));
    assert!(reserve.exists(), "it is put aside at the start");
    store.commit(OpId::random(), vec![], vec![large(0)]).await.expect("an empty disk");
    let filler = disk.fill();

    // Whatever finds no room is refused, and lets the store give its reserve up.
    let (_, refused) = fill(&store).await;
    assert_eq!(refused, CommitError::Unavailable(Unavailable::DiskFull));
    assert!(!reserve.exists(), "it is given up");
    let refused = store.commit(OpId::random(), vec![], vec![large(0)]).await;
    assert_eq!(refused, Err(CommitError::Unavailable(Unavailable::DiskFull)), "large ones wait");
    let revocation = Op::put(key("revoked"), "x");
    store.commit(OpId::random(), vec![], vec![revocation]).await.expect("a revocation is small");
    store
        .commit(OpId::random(), vec![], vec![Op::delete(large(0).key().clone())])
        .await
        .expect("so is a delete");

    fs::remove_file(&filler).expect("it was written");
    while store.commit(OpId::random(), vec![], vec![large(0)]).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(reserve.exists(), "it is put aside again");
}

/// Commits until one is refused.
async fn fill(store: &SqliteStore) -> (usize, CommitError) {
    for kept in 0..200 {
        if let Err(refused) = store.commit(OpId::random(), vec![], vec![large(kept)]).await {
            return (kept, refused);
        }
    }
    panic!("6 MiB fit on a disk of 2 MiB");
}

fn large(n: usize) -> Op {
    Op::put(key(&format!("{n:04}")), vec![7; 32 << 10])
}

/// A tmpfs of 2 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let at = TempDir::new().expect("a directory for the test");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it to the brim.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = fs::File::create(&path).expect("a name takes no space");
        while filler.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever a failing test still holds open must not keep the mount.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
