//! One file from a sender to all receivers of a site, timed, counted and compared.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::caster::{Caster, placed};
use super::site::Site;
use crate::fleet::PATIENCE;
use crate::lab::{Cables, Host, Process, cpu_time, wait_until};

/// What a cast took.
#[derive(Debug)]
pub(super) struct Cast {
    /// From the sender's start until all receivers have the file, and the sender knows if it asks.
    pub(super) time: Duration,
    /// Symbols on the wire for each of the file.
    pub(super) wire: f64,
    pub(super) sender: Usage,
    /// On average.
    pub(super) receiver: Usage,
    /// What the sender printed.
    pub(super) said: String,
}

/// What a program has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// The most at once, in bytes.
    pub(super) memory: u64,
}

/// The receivers of a product, listening.
#[derive(Debug)]
pub(super) struct Listeners {
    watched: Vec<Watched>,
    folders: Vec<PathBuf>,
}

#[derive(Debug)]
struct Watched {
    process: Process,
    usage: Usage,
}

impl Listeners {
    /// Starts a receiver on each machine, and waits until all listen.
    pub(super) fn start(site: &Site, caster: &dyn Caster, file: &Path) -> Result<Self> {
        let (mut watched, mut folders) = (Vec::new(), Vec::new());
        for (index, host) in site.receivers.iter().enumerate() {
            let folder = site.folder(index)?;
            let command = caster.receive(host, index + 1, &folder, file)?;
            watched.push(Watched::start(caster, host, command)?);
            folders.push(folder);
        }
        for host in &site.receivers {
            let ready = || Ok(is_bound(host, caster.port())?.then_some(()));
            wait_until(PATIENCE, ready)?.with_context(|| format!("{} does not listen", caster.name()))?;
        }
        Ok(Self { watched, folders })
    }

    /// Whether every one has a file of this length.
    pub(super) fn have(&self, file: &Path, length: u64) -> bool {
        let has =
            |folder: &PathBuf| fs::metadata(placed(folder, file)).is_ok_and(|there| there.len() == length);
        self.folders.iter().all(has)
    }

    /// Compares what they have with what was sent.
    fn compare(&self, file: &Path) -> Result<()> {
        for folder in &self.folders {
            let path = placed(folder, file);
            ensure!(is_same(file, &path)?, "{} is not what was sent", path.display());
        }
        Ok(())
    }
}

/// Sends a file to all receivers; what arrives is compared.
pub(super) fn cast(site: &Site, cables: &Cables, caster: &dyn Caster, file: &Path) -> Result<Cast> {
    let length = fs::metadata(file)?.len();
    let mut listeners = Listeners::start(site, caster, file)?;
    let before = cables.sent()?;
    let begun = Instant::now();
    let command = caster.send(file, site.receivers.len())?;
    let mut sender = Watched::start(caster, &site.sender, command)?;
    let done = wait_until(LONGEST, || {
        listeners.watched.iter_mut().for_each(Watched::look);
        sender.look();
        let done = if caster.ends() { !sender.process.is_running()? } else { listeners.have(file, length) };
        Ok(done.then(|| begun.elapsed()))
    })?;
    let said = sender.process.output()?;
    let time = done.with_context(|| format!("{} did not come to an end: {said}", caster.name()))?;
    wait_until(PATIENCE, || Ok(listeners.have(file, length).then_some(())))?
        .with_context(|| format!("{} did not bring it to all: {said}", caster.name()))?;
    // A name may be there before the bytes are, for those who write as they receive.
    listeners.compare(file)?;
    let packets = (cables.sent()? - before) as f64;
    let count = u32::try_from(listeners.watched.len())?;
    let cpu = listeners.watched.iter().map(|one| one.usage.cpu).sum::<Duration>() / count;
    let memory = listeners.watched.iter().map(|one| one.usage.memory).sum::<u64>() / u64::from(count);
    Ok(Cast {
        time,
        wire: packets * f64::from(caster.payload()) / length as f64,
        sender: sender.usage,
        receiver: Usage { cpu, memory },
        said,
    })
}

impl Watched {
    fn start(caster: &dyn Caster, host: &Host, command: std::process::Command) -> Result<Self> {
        let process = Process::spawn(caster.name(), &mut host.place(command))?.tolerating_errors();
        Ok(Self { process, usage: Usage::default() })
    }

    /// Notes what it has used so far; what it uses between the last look and its end is lost.
    fn look(&mut self) {
        let id = self.process.id();
        if let Ok(cpu) = cpu_time(id) {
            self.usage.cpu = self.usage.cpu.max(cpu);
        }
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = most.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        self.usage.memory = self.usage.memory.max(kib.unwrap_or(0) << 10);
    }
}

/// Whether anything on the host is bound to a UDP port.
fn is_bound(host: &Host, port: u16) -> Result<bool> {
    Ok(!host.run("ss", &["-Hlun", &format!("sport = :{port}")])?.is_empty())
}

fn is_same(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(1 << 20, file));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = a.read(&mut left)?;
        if length == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        b.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

/// The slowest has a line of 10 Mbit/s.
const LONGEST: Duration = Duration::from_secs(120);
