//! uftp, without encryption.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::caster::Caster;
use crate::lab::Host;

/// uftp at a rate in Kbit/s; -1 sends as fast as the interface takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uftp(pub(super) i32);

impl Caster for Uftp {
    fn name(&self) -> &'static str {
        "uftp"
    }

    fn setting(&self) -> String {
        format!("-R {} -b 1400 -B 8388608, receivers named", self.0)
    }

    fn payload(&self) -> u16 {
        1400
    }

    fn port(&self) -> u16 {
        1044
    }

    fn receive(&self, _: &Host, number: usize, folder: &Path, _: &Path) -> Result<Command> {
        let mut command = Command::new("uftpd");
        command.args(["-d", "-I", "eth0", "-M", "239.77.2.1", "-B", "8388608", "-U", &id(number), "-D"]);
        command.arg(folder);
        Ok(command)
    }

    fn send(&self, file: &Path, receivers: usize) -> Result<Command> {
        let names: Vec<_> = (1..=receivers).map(id).collect();
        let mut command = Command::new("uftp");
        command.args(["-I", "eth0", "-M", "239.77.2.1", "-P", "239.77.2.2", "-b", "1400", "-B", "8388608"]);
        // So it does not wait for others.
        command.args(["-R", &self.0.to_string(), "-H", &names.join(",")]).arg(file);
        Ok(command)
    }
}

fn id(number: usize) -> String {
    format!("0x{number:08X}")
}
