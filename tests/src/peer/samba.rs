//! Samba: nmbd says NetBIOS names, smbd serves files.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::PATH;
use crate::lab::{Host, Process};

/// Running programs of Samba, called FILES-7 in the group OFFICE; they serve nothing.
#[derive(Debug)]
pub struct Samba {
    processes: Vec<Process>,
    folder: TempDir,
}

impl Samba {
    /// Starts nmbd. It answers at every address that the host has by then, once it has registered its names.
    ///
    /// # Errors
    /// When it does not start.
    pub fn naming(host: &Host) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path().display();
        let settings = format!(
            "[global]\nnetbios name = FILES-7\nworkgroup = OFFICE\nserver role = standalone server\n\
             private dir = {at}\nlock directory = {at}\nstate directory = {at}\ncache directory = {at}\n\
             pid directory = {at}\nncalrpc dir = {at}/rpc\nload printers = no\ndisable spoolss = yes\n\
             smb ports = 445\n"
        );
        std::fs::write(folder.path().join("smb.conf"), settings)?;
        let mut samba = Self { processes: Vec::new(), folder };
        samba.start(host, "nmbd")?;
        Ok(samba)
    }

    /// Starts nmbd and smbd.
    ///
    /// # Errors
    /// When they do not start, or smbd does not listen within 20 s.
    pub fn serving(host: &Host) -> Result<Self> {
        let mut samba = Self::naming(host)?;
        samba.start(host, "smbd")?;
        host.wait_for_listener(445, Duration::from_secs(20))?;
        Ok(samba)
    }

    fn start(&mut self, host: &Host, name: &str) -> Result<()> {
        let mut command = host.command(name);
        command.args(["--foreground", "--no-process-group", "--debug-stdout", "--configfile"]);
        command.arg(self.folder.path().join("smb.conf")).env("PATH", PATH);
        self.processes.push(Process::spawn(name, &mut command)?);
        Ok(())
    }
}
