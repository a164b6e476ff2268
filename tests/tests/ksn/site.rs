//! A proxy and a reputation server of a fleet, each beside the agent of a managed device, whose identity it has.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use klnet_tests::fleet::{Device, Fleet, Said};
use klnet_tests::lab::{Lab, Process};
use klnet_tests::program;
use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;

/// Both, in one network; other devices are added beside them.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    /// The device whose agent the proxy is beside.
    pub(crate) nas: Device,
    /// The device whose agent the reputation server is beside.
    pub(crate) cloud: Device,
    folder: TempDir,
    proxy: Option<Process>,
    server: Option<Process>,
}

impl Site {
    /// The devices and their agents; neither proxy nor reputation server run yet. `None` where there can be no hosts.
    pub(crate) fn or_skip(name: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let fleet = Fleet::new(&lab)?;
        let nas = fleet.device("nas")?;
        let cloud = fleet.beside(&nas, "cloud")?;
        let folder = tempfile::Builder::new().prefix(&format!("ksn-{name}-")).tempdir()?;
        Ok(Some(Self { fleet, nas, cloud, folder, proxy: None, server: None }))
    }

    /// Adds a managed device.
    pub(crate) fn device(&self, name: &str) -> Result<Device> {
        self.fleet.beside(&self.nas, name)
    }

    /// Serves a list that [`BAD`] is on.
    pub(crate) fn start_server(&mut self) -> Result<()> {
        let list = self.path("test.hdb");
        fs::write(&list, HDB)?;
        Said::by(self.ksnserver()?.args(["import", "clamav"]).arg(list))?.ok()?;
        let mut serve = self.ksnserver()?;
        self.server =
            Some(Process::spawn("ksnserver", serve.arg("serve").arg("--identity").arg(self.cloud.state()))?);
        self.cloud.host().wait_for_listener(1443, PATIENCE)
    }

    /// Ends the reputation server at once.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill().map(drop)
    }

    /// Runs the proxy, which asks the reputation server.
    pub(crate) fn start_proxy(&mut self) -> Result<()> {
        let mut serve = self.proxy_command()?;
        self.proxy = Some(Process::spawn("ksnproxy", &mut serve)?);
        self.nas.host().wait_for_listener(17111, PATIENCE)
    }

    /// What runs the proxy, not started.
    pub(crate) fn proxy_command(&self) -> Result<std::process::Command> {
        let (config, upstream) = (self.path("ksnproxy.toml"), self.cloud.host().address());
        let upstream = format!("{}@{upstream}", id(&self.cloud)?);
        fs::write(&config, format!("identity = {:?}\nupstreams = [{upstream:?}]\n", self.nas.state()))?;
        let mut serve = self.nas.host().command(program("ksnproxy")?);
        serve.args(["serve", "--config"]).arg(config);
        Ok(serve)
    }

    /// The proxy's next line with this text.
    pub(crate) fn until_proxy_says(&mut self, text: &str) -> Result<String> {
        self.proxy.as_mut().context("it runs")?.wait_for_line(text, PATIENCE)
    }

    /// What the proxy counted.
    pub(crate) fn stats(&self) -> Result<Value> {
        Said::by(self.nas.host().command(program("ksnproxy")?).args(["stats", "--json"]))?.json()
    }

    /// What a device is told about [`BAD`] by the proxy that is `proxy`.
    pub(crate) fn ask(&self, device: &Device, proxy: &str, via: &str) -> Result<Said> {
        let mut query = device.host().command(program("ksnproxy")?);
        query.args(["query", "--json", "--proxy", &self.nas.host().address().to_string(), "--via", via]);
        Said::by(query.arg("--identity").arg(device.state()).args(["--device", proxy, BAD]))
    }

    fn ksnserver(&self) -> Result<std::process::Command> {
        let mut command = self.cloud.host().command(program("ksnserver")?);
        command.arg("--store").arg(self.path("store"));
        Ok(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The identifier of a device whose agent runs.
pub(crate) fn id(device: &Device) -> Result<String> {
    let id = device.status()?["device"].as_str().map(str::to_owned);
    id.context("a device that runs has an id")
}

/// What the list has.
const HDB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68:Test.File\n";

/// The one file that is on it.
pub(crate) const BAD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68";
