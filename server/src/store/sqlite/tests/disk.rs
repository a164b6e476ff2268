//! A full disk: refused with a clear reason, nothing lost, served again once there is space.

use std::{fs, path::Path, process::Command};

use super::*;
use crate::store::Unavailable;

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
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever a failing test still holds open must not keep the mount.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
