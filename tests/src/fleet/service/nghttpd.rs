//! nghttp2's server on a host's loopback: HTTP/2 with prior knowledge (RFC 9113, section 3.3).

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process};

/// A running nghttpd with files of these names and contents.
#[derive(Debug)]
pub struct Nghttpd {
    _process: Process,
    port: u16,
    _folder: TempDir,
}

impl Nghttpd {
    /// Starts it on a port of the host's loopback.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(host: &Host, port: u16, files: &[(&str, Vec<u8>)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-nghttpd-").tempdir()?;
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        let mut serve = host.command("nghttpd");
        serve.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]).arg(folder.path());
        let process = Process::spawn("nghttpd", serve.arg(port.to_string()))?;
        host.wait_for_listener(port, PATIENCE)?;
        Ok(Self { _process: process, port, _folder: folder })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
