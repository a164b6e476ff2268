//! Two machines and a wire: servers on one core, what asks them on the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::bench::place::Place;
use crate::lab::{Host, Lab};

/// Where everything runs.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) server: Host,
    pub(super) client: Host,
    folder: TempDir,
}

impl Rig {
    pub(super) fn new() -> Result<Self> {
        let lab = Lab::new("bench")?;
        let (server, client) = (lab.host("server")?, lab.host("client")?);
        lab.link(&server, &client)?;
        for host in [&server, &client] {
            // As cards do that take packets apart themselves; a laboratory's wire does not until told so.
            host.ip("link set eth0 gso_max_segs 65535")?;
        }
        let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
        Ok(Self { server, client, folder })
    }

    /// Where servers run.
    pub(super) fn core(&self) -> Place {
        Place::on_core(&self.server, 0)
    }

    /// Runs what asks them.
    pub(super) fn ask<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        Place::on_core(&self.client, 1).run(work)
    }

    /// The servers' address.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.server.address()
    }

    /// A port of it.
    pub(super) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(), port))
    }

    /// A file for somebody's settings.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
