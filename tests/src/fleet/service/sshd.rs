//! OpenSSH's server on a host's loopback, with keys of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process, run};

/// A running sshd that lets the current user in with one key.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts it on a port of the host's loopback.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-sshd-").tempdir()?;
        for name in ["host_key", "id"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name)))?;
        }
        fs::copy(folder.path().join("id.pub"), folder.path().join("authorized_keys"))?;
        let config = folder.path().join("sshd_config");
        fs::write(&config, settings(folder.path(), port))?;
        // sshd insists on its folder for unprivileged children, which Debian makes when its own service starts.
        fs::create_dir_all("/run/sshd")?;
        let process = Process::spawn("sshd", host.command(SSHD).arg("-D").arg("-e").arg("-f").arg(&config))?;
        host.wait_for_listener(port, PATIENCE)?;
        Ok(Self { process, folder, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The options with which ssh, scp and sftp are let in and take this server for what it is.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let known = self.path("known_hosts");
        vec![
            "-i".to_owned(),
            self.path("id").display().to_string(),
            "-oIdentitiesOnly=yes".to_owned(),
            "-oBatchMode=yes".to_owned(),
            "-oStrictHostKeyChecking=accept-new".to_owned(),
            format!("-oUserKnownHostsFile={}", known.display()),
        ]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn settings(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n\
         PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
}

/// sshd runs itself again, so it wants to be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";
