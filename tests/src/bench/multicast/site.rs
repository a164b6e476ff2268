//! The LAN: a sender and receivers at a switch, and a disk in memory.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fault::SmallDisk;
use crate::lab::{Cables, Host, Lab, Switch};
use crate::sim::Rng;

/// The machines of a measurement, and what they read and write.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) sender: Host,
    pub(super) receivers: Vec<Host>,
    pub(super) switch: Switch,
    disk: SmallDisk,
}

impl Site {
    /// A sender and so many receivers, on cables that carry single datagrams.
    pub(super) fn new(receivers: usize) -> Result<Self> {
        let switch = Lab::new("cast")?.switch("lan")?;
        let sender = switch.host("sender")?;
        let receivers = (1..=receivers).map(|n| switch.host(&format!("r{n}"))).collect::<Result<Vec<_>>>()?;
        for host in receivers.iter().chain([&sender]) {
            host.ip("route add 224.0.0.0/4 dev eth0")?;
        }
        for receiver in &receivers {
            switch.join_datagrams(receiver)?;
        }
        switch.snoop()?;
        std::thread::sleep(LEARNS);
        Ok(Self { sender, receivers, switch, disk: SmallDisk::mount(DISK)? })
    }

    /// Cables that lose `permille` of the multicast to each receiver.
    pub(super) fn cables(&self, permille: u16) -> Result<Cables> {
        let losses: Vec<_> = self.receivers.iter().map(|host| (host, permille)).collect();
        self.switch.cables(&losses)
    }

    /// A path on the disk.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// A file of random bytes.
    pub(super) fn file(&self, name: &str, length: usize) -> Result<PathBuf> {
        let (path, mut bytes) = (self.path(name), vec![0; length]);
        Rng::new(length as u64).fill(&mut bytes);
        fs::write(&path, bytes).context("no room for the file")?;
        Ok(path)
    }

    /// An empty folder of a receiver.
    pub(super) fn folder(&self, index: usize) -> Result<PathBuf> {
        let folder = self.path(&format!("r{index}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// KiB: what is sent and what four receivers have of it, with parts and what is left of the last run.
const DISK: u32 = 6 << 20;

/// A bridge that snoops floods at first, so that hosts hear each other's reports, and forgets those who were silent for that
/// (RFC 4541, 2.1.1): who joins meanwhile hears nothing for a second.
const LEARNS: Duration = Duration::from_secs(11);
