//! One network namespace: made, named, wired, and removed with everything that runs in it.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::tool::{ip, system};
use crate::system;

/// A namespace named `klnet-PID-SERIAL-LAB-HOST`; removed on drop.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    handle: Arc<File>,
    devices: AtomicU32,
}

impl Namespace {
    pub(super) fn create(lab: &str, host: &str) -> Result<Arc<Self>> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        // The first `ip netns add` of a machine mounts RUN; two at once would race for it.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}-{lab}-{host}", std::process::id());
        {
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            ip(&format!("netns add {name}"))?;
        }
        let handle = File::open(Path::new(RUN).join(&name)).context("namespace was added but has no file")?;
        let namespace = Arc::new(Self { name, handle: Arc::new(handle), devices: AtomicU32::new(0) });
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `ip` on this namespace.
    pub(super) fn ip(&self, arguments: &str) -> Result<String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Runs a script of `nft` commands in this namespace, all or none of them.
    pub(super) fn nft(&self, script: &str) -> Result<String> {
        let mut nft = self.place(system("nft"));
        nft.args(["-f", "-"]);
        super::tool::feed(nft, script)
    }

    /// Makes a command start in this namespace.
    pub(super) fn place(&self, mut command: Command) -> Command {
        system::start_inside(&mut command, Arc::clone(&self.handle));
        command
    }

    /// Moves the calling thread into this namespace.
    pub(super) fn enter(&self) -> Result<()> {
        system::enter(&self.handle).with_context(|| format!("cannot enter {}", self.name))
    }

    /// Adds a pair of devices: `here` in this namespace, `there` in the other.
    pub(super) fn wire(&self, here: &str, other: &Self, there: &str) -> Result<()> {
        ip(&format!("link add {here} netns {} type veth peer name {there} netns {}", self.name, other.name))?;
        // One segment per buffer: otherwise a single drop takes a 62 KB super-packet, and loss is not what was asked.
        self.ip(&format!("link set {here} gso_max_segs 1 up"))?;
        other.ip(&format!("link set {there} gso_max_segs 1 up"))?;
        Ok(())
    }

    /// A device name not used in this namespace yet.
    pub(super) fn next_device(&self) -> String {
        format!("eth{}", self.devices.fetch_add(1, Ordering::Relaxed))
    }

    /// The devices handed out so far.
    pub(super) fn devices(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.devices.load(Ordering::Relaxed)).map(|number| format!("eth{number}"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what test processes that are gone (killed, crashed) have left behind.
pub(super) fn sweep() {
    let Ok(names) = std::fs::read_dir(RUN) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

/// Kills what still runs inside, then unnames the namespace; the kernel frees it and its devices.
fn remove(name: &str) {
    let inside = ip(&format!("netns pids {name}")).unwrap_or_default();
    for pid in inside.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // A thread of this very process may be inside, see `Host::inside`.
        if pid != std::process::id() {
            let _ = system::signal(pid, libc::SIGKILL);
        }
    }
    let _ = ip(&format!("netns del {name}"));
}

const PREFIX: &str = "klnet-";
/// Where `ip netns` keeps one file per namespace.
const RUN: &str = "/run/netns";
