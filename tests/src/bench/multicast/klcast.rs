//! Ours: encrypted, every block verified, nothing to set.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::caster::Caster;
use super::site::Site;
use crate::lab::{Host, run};
use crate::program;

/// `klcast`, and its key files.
#[derive(Debug)]
pub(super) struct Klcast {
    program: PathBuf,
    key: PathBuf,
    /// What else the sender is told.
    pub(super) options: Vec<String>,
}

impl Klcast {
    /// Makes its key files.
    pub(super) fn new(site: &Site) -> Result<Self> {
        let (program, key) = (program("klcast")?, site.path("lan"));
        if !key.with_extension("sender").exists() {
            run(Command::new(&program).args(["key", "new", "--group", GROUP]).arg(&key))?;
        }
        Ok(Self { program, key, options: Vec::new() })
    }
}

impl Caster for Klcast {
    fn name(&self) -> &'static str {
        "klcast"
    }

    fn setting(&self) -> String {
        "as it is".to_owned()
    }

    fn payload(&self) -> u16 {
        1408
    }

    fn port(&self) -> u16 {
        15_001
    }

    fn receive(&self, _: &Host, number: usize, folder: &Path, _: &Path) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(["receive", "--json", "--label", &number.to_string(), "--key"]);
        command.arg(self.key.with_extension("receiver")).arg(folder);
        Ok(command)
    }

    fn send(&self, file: &Path, receivers: usize) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(["send", "--json", "--expect", &receivers.to_string(), "--key"]);
        command.arg(self.key.with_extension("sender")).args(&self.options).arg(file);
        Ok(command)
    }
}

const GROUP: &str = "239.194.5.1:15001";
