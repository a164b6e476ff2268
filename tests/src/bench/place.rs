//! A machine of the laboratory, and the core of it that a program or a part of the load may use.

use std::process::Command;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::lab::{Host, Process};

/// Where something runs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The machine.
    pub(super) host: Host,
    /// The only core it may use; every core when there is none.
    pub(super) core: Option<usize>,
}

impl Place {
    /// Anywhere on this machine.
    pub(super) fn anywhere(host: &Host) -> Self {
        Self { host: host.clone(), core: None }
    }

    /// On one core of this machine.
    pub(super) fn on_core(host: &Host, core: usize) -> Self {
        Self { host: host.clone(), core: Some(core) }
    }

    /// Runs `work` on a thread there; whatever it starts stays there, threads and programs alike.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.host.inside(|| {
            if let Some(core) = self.core {
                bind(core)?;
            }
            work()
        })?
    }

    /// Starts a program there. It may log errors: what a product says under load is not what is judged here.
    pub(super) fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        let mut command = self.host.place(command);
        self.run(|| Ok(Process::spawn(name, &mut command)?.tolerating_errors()))
    }
}

/// Binds the calling thread to one core; on a machine that does not have it there is nothing to keep apart.
pub(super) fn bind(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    match sched_setaffinity(None, &cores) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot bind a thread to core {core}")),
    }
}
