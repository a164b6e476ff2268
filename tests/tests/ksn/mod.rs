//! A device, a proxy and a reputation server, each a host of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod datagram;
pub(crate) mod held;
pub(crate) mod site;

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klnet_tests::fabric::Fabric;
use klnet_tests::lab::{Host, Lab, Process, Switch};
use klnet_tests::program;
use klnet_wire::identity::Role;
use klnet_wire::identity::pem::identity_to_pem;
use klnet_wire::identity::secret_file::write_secret;
use serde_json::Value;
use tempfile::TempDir;

/// A LAN with all three.
pub(crate) struct Lan {
    _lab: Lab,
    pub(crate) switch: Switch,
    pub(crate) device: Host,
    pub(crate) proxy: Host,
    pub(crate) server: Host,
    folder: TempDir,
    pub(crate) fabric: Fabric,
    serving: Option<Process>,
    proxying: Option<Process>,
}

impl Lan {
    /// `None` where there can be no hosts.
    pub(crate) fn or_skip(name: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let switch = lab.switch("lan")?;
        let (device, proxy, server) = (switch.host("device")?, switch.host("proxy")?, switch.host("server")?);
        let folder = tempfile::Builder::new().prefix(&format!("ksn-{name}-")).tempdir()?;
        let fabric = Fabric::new()?;
        let (serving, proxying) = (None, None);
        let lan = Self { _lab: lab, switch, device, proxy, server, folder, fabric, serving, proxying };
        Ok(Some(lan))
    }

    /// Makes a snapshot of a list and serves it.
    pub(crate) fn serve(&mut self, format: &str, list: &str, text: &str) -> Result<()> {
        self.import("store", format, list, text)?;
        self.start_server("store")
    }

    /// Makes a snapshot of a list in a store.
    pub(crate) fn import(&self, store: &str, format: &str, list: &str, text: &str) -> Result<()> {
        let path = self.path(list);
        fs::write(&path, text)?;
        self.ksnserver(store, &["import", format, &path.display().to_string()]).map(drop)
    }

    /// Serves the snapshot of a store.
    pub(crate) fn start_server(&mut self, store: &str) -> Result<()> {
        let identity = self.identity_file("server", Role::Server, self.server.address())?;
        let mut serve = self.server.command(program("ksnserver")?);
        serve.arg("--store").arg(self.path(store)).arg("serve").arg("--identity").arg(identity);
        let serve = Process::spawn("ksnserver", &mut serve)?;
        self.server.wait_for_listener(1443, PATIENCE)?;
        self.serving = Some(serve);
        Ok(())
    }

    /// Ends the server at once.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        self.serving.take().context("it runs")?.kill().map(drop)
    }

    /// Runs a proxy that asks the server, and whose configuration ends with `more`.
    pub(crate) fn start_proxy(&mut self, more: &str) -> Result<()> {
        let upstream = self.server.address();
        self.start_proxy_alone(&format!("upstreams = [\"{upstream}\"]\n{more}"))
    }

    /// Runs a proxy that asks nobody.
    pub(crate) fn start_proxy_alone(&mut self, more: &str) -> Result<()> {
        let identity = self.identity_file("proxy", Role::Server, self.proxy.address())?;
        let config = self.path("ksnproxy.toml");
        fs::write(&config, format!("identity = \"{}\"\n{more}", identity.display()))?;
        let mut serve = self.proxy.command(program("ksnproxy")?);
        let proxy = Process::spawn("ksnproxy", serve.arg("serve").arg("--config").arg(config))?;
        self.proxy.wait_for_listener(17111, PATIENCE)?;
        self.proxying = Some(proxy);
        Ok(())
    }

    /// Ends the proxy at once.
    pub(crate) fn kill_proxy(&mut self) -> Result<()> {
        self.proxying.take().context("it runs")?.kill().map(drop)
    }

    /// What `ksnserver` says about a store.
    pub(crate) fn ksnserver(&self, store: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.server.command(program("ksnserver")?);
        command.arg("--store").arg(self.path(store)).args(arguments);
        let mut command = Process::spawn("store", &mut command)?;
        ensure!(command.wait(PATIENCE)?.success(), "{}", command.output()?);
        command.output()
    }

    /// What the device is told about each subject.
    pub(crate) fn ask(&self, options: &[&str], subjects: &[&str]) -> Result<Vec<Value>> {
        let identity = self.path("device.pem");
        if !identity.exists() {
            self.identity_file("device", Role::Agent, self.device.address())?;
        }
        let mut query = self.device.command(program("ksnproxy")?);
        query.args(["query", "--json", "--proxy", &self.proxy.address().to_string(), "--identity"]);
        query.arg(identity).args(options).args(subjects);
        let mut query = Process::spawn("query", &mut query)?;
        let code = query.wait(PATIENCE)?;
        let output = query.output()?;
        ensure!(code.success(), "{output}");
        output.lines().map(|line| serde_json::from_str(line).with_context(|| output.clone())).collect()
    }

    /// What the proxy and the server have said.
    pub(crate) fn log(&self) -> Result<String> {
        self.serving.iter().chain(&self.proxying).map(Process::output).collect()
    }

    /// What the proxy counted.
    pub(crate) fn stats(&self) -> Result<Value> {
        let mut stats = self.proxy.command(program("ksnproxy")?);
        let mut stats = Process::spawn("stats", stats.args(["stats", "--json"]))?;
        ensure!(stats.wait(PATIENCE)?.success(), "{}", stats.output()?);
        Ok(serde_json::from_str(&stats.output()?)?)
    }

    fn identity_file(&self, name: &str, role: Role, address: Ipv4Addr) -> Result<PathBuf> {
        let path = self.path(&format!("{name}.pem"));
        write_secret(&path, identity_to_pem(&self.fabric.issue(role, address)?).as_bytes())?;
        Ok(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Nothing here takes as long on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
