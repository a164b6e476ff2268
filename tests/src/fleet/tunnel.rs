//! An open `klsctunnel`.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Operator, PATIENCE};
use crate::lab::{Host, Process, wait_until};

/// A running `klsctunnel --json` and the local port it opened.
#[derive(Debug)]
pub struct Tunnel {
    host: Host,
    process: Process,
    address: SocketAddr,
}

impl Tunnel {
    /// Starts `klsctunnel --json` with these arguments and waits until it listens.
    pub(super) fn open(operator: &Operator, arguments: &[&str]) -> Result<Self> {
        let mut command = operator.command("klsctunnel")?;
        let mut process = Process::spawn("klsctunnel", command.arg("--json").args(arguments))?;
        let line = process.wait_for_line("\"listening\"", PATIENCE)?;
        let event: Value = serde_json::from_str(&line)?;
        let address = event["local"][0].as_str().with_context(|| format!("no address in {line}"))?;
        Ok(Self { host: operator.host().clone(), process, address: address.parse()? })
    }

    /// Connects to the local port, on the operator's machine; reads and writes give up after [`PATIENCE`].
    ///
    /// # Errors
    /// When nothing listens any more.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = self.host.inside(|| TcpStream::connect(self.address))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The local port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits for the next event of a kind (`opened`, `closed`, `failed`) after the first `seen` of them.
    ///
    /// # Errors
    /// When none comes within `timeout`; with everything it said.
    pub fn wait_for_event(&self, kind: &str, seen: usize, timeout: Duration) -> Result<Value> {
        let next = wait_until(timeout, || Ok(self.events(kind)?.into_iter().nth(seen)))?;
        next.with_context(|| format!("no {kind} within {timeout:?}: {:?}", self.process.output()))
    }

    /// All events of a kind so far.
    ///
    /// # Errors
    /// When the output is gone.
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let output = self.process.output()?;
        let events = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.filter(|event| event["event"] == kind).collect())
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
