//! Where everything of `klserver up` is, and on which ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// A folder with everything in it.
pub(super) struct Place {
    root: PathBuf,
    /// Port of the API.
    pub(super) https_port: u16,
    /// Port for agents.
    pub(super) agent_port: u16,
    /// Port for tunnels.
    pub(super) tunnel_port: u16,
    /// Ports of the device's roles.
    pub(super) roles: RolePorts,
    /// Port of the reputation server; its clients are told at each start.
    pub(super) reputation_port: u16,
}

/// Ports of what the device is for others.
#[derive(Clone, Copy)]
pub(super) struct RolePorts {
    /// A distribution point's files.
    pub(super) files: u16,
    /// The KSN proxy's TCP, UDP and HTTPS.
    pub(super) ksn: [u16; 3],
}

impl Place {
    /// The folder at `root`, with the ports of its first run; the usual ones then, where they were free.
    pub(super) fn kept(root: &Path) -> anyhow::Result<Self> {
        match fs::read_to_string(root.join(CONFIG)) {
            Ok(config) => {
                let config = crate::config::Config::parse(&config)?;
                let roles = RolePorts::kept(root)?;
                let first = |ports: &[u16]| ports.first().copied().unwrap_or_default();
                let (agent_port, tunnel_port) = (first(&config.agent_ports), first(&config.tunnel_ports));
                let (root, https_port) = (root.to_owned(), config.https_port);
                let reputation_port = free(REPUTATION_PORT)?.local_addr()?.port();
                Ok(Self { root, https_port, agent_port, tunnel_port, roles, reputation_port })
            }
            Err(_) => {
                Self::new(root, [8443, 23_100, 29_200, 13_000, 13_111, 15_111, 17_111, REPUTATION_PORT])
            }
        }
    }

    /// A new folder at `root` on free ports.
    pub(super) fn fresh(root: &Path) -> anyhow::Result<Self> {
        Self::new(root, [0; 8])
    }

    fn new(root: &Path, wanted: [u16; 8]) -> anyhow::Result<Self> {
        // Held together, so that no two are the same.
        let held: Vec<_> = wanted.into_iter().map(free).collect::<Result<_, _>>()?;
        let ports: Vec<_> =
            held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<anyhow::Result<_>>()?;
        let [https_port, agent_port, tunnel_port, files, tcp, udp, https, reputation_port] = ports[..] else {
            anyhow::bail!("eight ports are needed")
        };
        let roles = RolePorts { files, ksn: [tcp, udp, https] };
        let root = root.to_owned();
        let place = Self { root, https_port, agent_port, tunnel_port, roles, reputation_port };
        fs::create_dir_all(&place.root)?;
        fs::write(place.agent_config(), place.roles.text())?;
        fs::write(place.config(), place.config_text())?;
        Ok(place)
    }

    fn config_text(&self) -> String {
        let Self { https_port, agent_port, tunnel_port, .. } = self;
        // A short heartbeat: whoever watches wants to see it.
        format!(
            "state = {:?}\nhosts = [\"127.0.0.1\"]\nbind = \"127.0.0.1\"\nhttps_port = {https_port}\n\
             agent_ports = \"{agent_port}\"\ntunnel_ports = \"{tunnel_port}\"\nheartbeat_min = \"1s\"\n\
             reconnect_window = \"500ms\"\n",
            self.server()
        )
    }

    /// Base of the API.
    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.https_port)
    }

    /// The folder of the linked commands.
    pub(super) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// One of the linked commands.
    pub(super) fn command(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join(CONFIG)
    }

    /// The agent's configuration.
    pub(super) fn agent_config(&self) -> PathBuf {
        self.root.join(AGENT_CONFIG)
    }

    pub(super) fn server(&self) -> PathBuf {
        self.root.join("server")
    }

    pub(super) fn device(&self) -> PathBuf {
        self.root.join("device")
    }

    pub(super) fn profile(&self) -> PathBuf {
        self.root.join("operator.profile")
    }

    pub(super) fn ssh(&self) -> PathBuf {
        self.root.join("ssh")
    }

    /// The folder of the reputation server.
    pub(super) fn reputation(&self) -> PathBuf {
        self.root.join("ksn")
    }

    /// `HOST:PORT` of the reputation server.
    pub(super) fn reputation_server(&self) -> String {
        format!("127.0.0.1:{}", self.reputation_port)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
}

impl RolePorts {
    /// Those of the first run.
    fn kept(root: &Path) -> anyhow::Result<Self> {
        let config = klnet_agent::config::Config::load(Some(&root.join(AGENT_CONFIG)))?;
        let ports = config.ports;
        Ok(Self { files: ports.files, ksn: [ports.ksn_tcp, ports.ksn_udp, ports.ksn_https] })
    }

    /// As the agent's configuration has them: of the loopback alone.
    fn text(self) -> String {
        let Self { files, ksn: [tcp, udp, https] } = self;
        format!(
            "[ports]\nlisten = \"127.0.0.1\"\nfiles = {files}\nksn_tcp = {tcp}\nksn_udp = {udp}\n\
             ksn_https = {https}\nneighbours = 0\n"
        )
    }
}

/// A port of the loopback: the wanted one if it is free.
fn free(wanted: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

const CONFIG: &str = "server.toml";
const AGENT_CONFIG: &str = "agent.toml";
const REPUTATION_PORT: u16 = 1443;
