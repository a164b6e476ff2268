//! A host: addresses, programs, and code of the test itself inside.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::tool::{run, system};
use super::wait::wait_until;

/// A host of a lab; clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    namespace: Arc<Namespace>,
    addresses: Mutex<Vec<Ipv4Addr>>,
}

impl Host {
    pub(super) fn new(namespace: Arc<Namespace>) -> Self {
        Self { inner: Arc::new(Inner { namespace, addresses: Mutex::default() }) }
    }

    /// Gives the device an address of a /24 and returns it.
    pub(super) fn configure(&self, device: &str, address: Ipv4Addr) -> Result<Ipv4Addr> {
        self.namespace().ip(&format!("addr add {address}/24 dev {device}"))?;
        self.inner.addresses.lock().unwrap_or_else(PoisonError::into_inner).push(address);
        Ok(address)
    }

    /// The first address this host was given.
    ///
    /// # Panics
    /// When the host is connected to nothing.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        *self.addresses().first().expect("a host has an address once it is connected")
    }

    /// All addresses this host was given, the first link first.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.inner.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of the namespace, for `ip netns exec` by hand.
    #[must_use]
    pub fn name(&self) -> &str {
        self.namespace().name()
    }

    /// A command that will run on this host; killing the child kills the program itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.place(Command::new(program))
    }

    /// Makes any command, say one wrapped by [`crate::fault::strace`], run on this host.
    #[must_use]
    pub fn place(&self, command: Command) -> Command {
        self.namespace().place(command)
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot start or does not succeed; with its error output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.place(system(program)).args(arguments))
    }

    /// Waits until something listens on a TCP port here, for servers that print nothing; no connection is made.
    ///
    /// # Errors
    /// When nothing does within `timeout`.
    pub fn wait_for_listener(&self, port: u16, timeout: Duration) -> Result<()> {
        let listens = || {
            let listing = self.run("ss", &["-Hltn", &format!("sport = :{port}")])?;
            Ok((!listing.is_empty()).then_some(()))
        };
        wait_until(timeout, listens)?
            .with_context(|| format!("nothing listens on port {port} after {timeout:?}"))
    }

    /// Runs `work` on a thread that lives on this host: sockets it opens stay there, wherever they are used later.
    ///
    /// # Errors
    /// When the thread cannot enter the namespace.
    ///
    /// # Panics
    /// When `work` does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.namespace().enter().map(|()| work()));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` on this host, arguments split at spaces; for routes and devices a test wants to shape itself.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.namespace().ip(arguments)
    }

    /// Sends everything without a better route to `gateway`.
    ///
    /// # Errors
    /// When the gateway is not on a network of this host.
    pub fn default_route(&self, gateway: Ipv4Addr) -> Result<()> {
        self.ip(&format!("route replace default via {gateway}"))
            .map(drop)
            .context("cannot set the default route")
    }

    pub(super) fn namespace(&self) -> &Arc<Namespace> {
        &self.inner.namespace
    }
}
