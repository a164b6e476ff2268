//! iperf3's server on a host's loopback.

use anyhow::Result;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process};

/// A running iperf3 that serves one measurement after the other.
#[derive(Debug)]
pub struct Iperf3 {
    _process: Process,
    port: u16,
}

impl Iperf3 {
    /// Starts it on a port of the host's loopback.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let mut serve = host.command("iperf3");
        let process =
            Process::spawn("iperf3", serve.args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()]))?;
        host.wait_for_listener(port, PATIENCE)?;
        Ok(Self { _process: process, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
