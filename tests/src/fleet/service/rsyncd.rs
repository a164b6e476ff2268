//! rsync's own server on a host's loopback, without SSH around it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process};

/// A running rsync daemon with one module, `files`, that anybody may read and write.
#[derive(Debug)]
pub struct Rsyncd {
    _process: Process,
    port: u16,
    folder: TempDir,
}

impl Rsyncd {
    /// Starts it on a port of the host's loopback.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-rsyncd-").tempdir()?;
        fs::create_dir(folder.path().join("files"))?;
        let config = folder.path().join("rsyncd.conf");
        fs::write(&config, settings(folder.path()))?;
        let mut serve = host.command("rsync");
        serve.args(["--daemon", "--no-detach", "--address", "127.0.0.1", "--port", &port.to_string()]);
        let process = Process::spawn("rsyncd", serve.arg("--config").arg(&config))?;
        host.wait_for_listener(port, PATIENCE)?;
        Ok(Self { _process: process, port, folder })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a file of the module is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "uid = root\ngid = root\nuse chroot = no\npid file = {folder}/pid\nlock file = {folder}/lock\n\
         [files]\npath = {folder}/files\nread only = no\n"
    )
}
