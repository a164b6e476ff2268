//! A disk that is full when the test says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::run;

/// A tmpfs of a few kilobytes; unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of `kilobytes`; needs root.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn mount(kilobytes: u32) -> Result<Self> {
        sweep();
        let directory =
            tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir()?;
        let size = format!("size={kilobytes}k,mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "klnet"]).arg(directory.path()))?;
        Ok(Self { directory })
    }

    /// Where the disk is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all that is left, to the last byte.
    ///
    /// # Errors
    /// When the ballast cannot be written for any reason but a full disk.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        for size in [4096, 1] {
            loop {
                match ballast.write_all(&[0; 4096][..size]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Errors
    /// When it has not been filled.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("the disk has not been filled")
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy, since a program of the test may still have files open; its directory is removed after this.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// Unmounts what test processes that are gone have left mounted.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = run(Command::new("umount").arg("-l").arg(path));
            let _ = std::fs::remove_dir(path);
        }
    }
}

const PREFIX: &str = "klnet-disk-";
