//! A LAN with a distribution point, and the devices it serves.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::{Device, Fleet};
use klnet_tests::lab::{Lab, wait_until};
use klnet_tests::sim::Rng;
use serde_json::Value;
use tempfile::TempDir;

/// A distribution point of the root group, and devices beside it.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    pub(crate) point: Device,
    pub(crate) devices: Vec<Device>,
    folder: TempDir,
}

impl Site {
    /// `None` where there can be no hosts.
    pub(crate) fn or_skip(name: &str, devices: &[&str]) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let fleet = Fleet::new(&lab)?;
        let point = fleet.device("nas")?;
        let devices = devices.iter().map(|name| fleet.beside(&point, name)).collect::<Result<_>>()?;
        fleet.admin().klctl(&["dp", "assign", "nas", "--group", "/"])?.ok()?;
        Ok(Some(Self { fleet, point, devices, folder: tempfile::tempdir()? }))
    }

    /// A file of random bytes.
    pub(crate) fn file(&self, name: &str, length: usize) -> Result<PathBuf> {
        let (path, mut bytes) = (self.folder.path().join(name), vec![0; length]);
        Rng::new(length as u64 + u64::from(name.as_bytes()[0])).fill(&mut bytes);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Has a file brought to every device.
    pub(crate) fn distribute(&self, path: &Path) -> Result<()> {
        self.distribute_to(path, "/")
    }

    /// Has a file brought to the devices of a group.
    pub(crate) fn distribute_to(&self, path: &Path, group: &str) -> Result<()> {
        let path = path.to_str().context("a path in UTF-8")?;
        self.fleet.admin().klctl(&["distribute", path, "--group", group])?.ok().map(drop)
    }

    /// Waits until every device that is to have the object says that it has; gives each one's result.
    pub(crate) fn results(&self, name: &str) -> Result<Value> {
        self.wait(name, |_| true)
    }

    /// Waits until these devices say that they have the object.
    pub(crate) fn complete(&self, name: &str, devices: &[&str]) -> Result<Value> {
        self.wait(name, |device| devices.iter().any(|name| device["name"] == *name))
    }

    fn wait(&self, name: &str, counts: impl Fn(&Value) -> bool) -> Result<Value> {
        let show = || self.fleet.admin().ask(&["distribution", "show", name]);
        let is_complete = |results: &Value| {
            let devices = results["devices"].as_array();
            devices.is_some_and(|devices| {
                devices.iter().filter(|device| counts(device)).all(|device| device["state"] == "complete")
            })
        };
        let done = wait_until(PATIENCE, || show().map(|results| is_complete(&results).then_some(results)))?;
        done.with_context(|| {
            let logs: Vec<_> =
                self.devices.iter().chain([&self.point]).filter_map(|device| device.log().ok()).collect();
            format!("{:#?}\n{}", show(), logs.join("\n"))
        })
    }

    /// Multicast does not reach this device any more; everything else does.
    pub(crate) fn deafen(&self, device: &Device) -> Result<()> {
        for rule in [
            "add table inet deaf",
            "add chain inet deaf in { type filter hook input priority 0; }",
            "add rule inet deaf in udp dport 15001 counter drop",
        ] {
            device.host().run("nft", &[rule])?;
        }
        Ok(())
    }

    /// Packets of multicast that came to a device which was deafened.
    pub(crate) fn unheard(&self, device: &Device) -> Result<u64> {
        let rules = device.host().run("nft", &["list", "table", "inet", "deaf"])?;
        let mut words = rules.split_whitespace().skip_while(|word| *word != "packets");
        Ok(words.nth(1).context("a counter")?.parse()?)
    }

    /// Waits until some of an object is on a device's disk.
    pub(crate) fn wait_for_parts(&self, device: &Device) -> Result<()> {
        let staging = device.state().join("received/.klcast");
        let found = wait_until(PATIENCE, || {
            let sessions = std::fs::read_dir(&staging).into_iter().flatten().flatten();
            let mut parts = sessions.filter(|entry| entry.path().join("0").exists());
            Ok(parts
                .next()
                .map(drop)
                .or_else(|| device.state().join("received/image").exists().then_some(())))
        })?;
        found.with_context(|| format!("nothing comes\n{}", device.log().unwrap_or_default()))
    }

    /// The epoch of the distribution point's keys.
    pub(crate) fn epoch(&self) -> Result<u64> {
        let points = self.fleet.admin().ask(&["dp", "list"])?;
        points[0]["epoch"].as_u64().context("an epoch")
    }

    /// The multicast group of the distribution point.
    pub(crate) fn group(&self) -> Result<Ipv4Addr> {
        let points = self.fleet.admin().ask(&["dp", "list"])?;
        Ok(points[0]["multicast_v4"].as_str().context("a group")?.parse()?)
    }

    /// A device has this file's bytes, under its name.
    pub(crate) fn holds(&self, device: &Device, file: &Path) -> Result<()> {
        let name = file.file_name().context("a name")?;
        let got = std::fs::read(device.state().join("received").join(name))?;
        ensure!(got == std::fs::read(file)?, "{} has other bytes", device.name());
        Ok(())
    }
}

/// One device's result.
pub(crate) fn row<'a>(results: &'a Value, name: &str) -> Result<&'a Value> {
    let mut devices = results["devices"].as_array().context("devices")?.iter();
    devices.find(|device| device["name"] == name).with_context(|| format!("no {name} in {results:#}"))
}

/// An object that does not come by multicast is fetched after ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);
