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
}

impl Place {
    /// The folder at `root`, with the ports of its first run; the usual ones then, where they were free.
    pub(super) fn kept(root: &Path) -> anyhow::Result<Self> {
        match fs::read_to_string(root.join(CONFIG)) {
            Ok(config) => {
                let config = crate::config::Config::parse(&config)?;
                let first = |ports: &[u16]| ports.first().copied().unwrap_or_default();
                let (agent_port, tunnel_port) = (first(&config.agent_ports), first(&config.tunnel_ports));
                Ok(Self { root: root.to_owned(), https_port: config.https_port, agent_port, tunnel_port })
            }
            Err(_) => Self::new(root, [8443, 23_100, 29_200]),
        }
    }

    /// A new folder at `root` on free ports.
    pub(super) fn fresh(root: &Path) -> anyhow::Result<Self> {
        Self::new(root, [0; 3])
    }

    fn new(root: &Path, wanted: [u16; 3]) -> anyhow::Result<Self> {
        // Held together, so that no two are the same.
        let held: Vec<_> = wanted.into_iter().map(free).collect::<Result<_, _>>()?;
        let ports: Vec<_> =
            held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<anyhow::Result<_>>()?;
        let [https_port, agent_port, tunnel_port] = ports[..] else {
            anyhow::bail!("three ports are needed")
        };
        let place = Self { root: root.to_owned(), https_port, agent_port, tunnel_port };
        fs::create_dir_all(root)?;
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

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
}

/// A port of the loopback: the wanted one if it is free.
fn free(wanted: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

const CONFIG: &str = "server.toml";
