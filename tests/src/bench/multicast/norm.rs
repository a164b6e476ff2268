//! NORM (RFC 5740) as its reference library does it, in a program of `tests/peers`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::caster::Caster;
use crate::lab::Host;

/// NORM at a fixed rate: its congestion control takes loss for congestion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    /// Mbit/s.
    pub(super) rate: u32,
    /// Symbols of a block, and parity of it.
    pub(super) code: (u16, u16),
}

impl Caster for Norm {
    fn name(&self) -> &'static str {
        "NORM"
    }

    fn setting(&self) -> String {
        format!(
            "{} Mbit/s without congestion control, blocks of {} + {}",
            self.rate, self.code.0, self.code.1
        )
    }

    fn payload(&self) -> u16 {
        1400
    }

    fn port(&self) -> u16 {
        6003
    }

    fn receive(&self, _: &Host, number: usize, folder: &Path, _: &Path) -> Result<Command> {
        let mut command = Command::new(super::sweep::peer("norm-cast"));
        command.args(["receive", "eth0"]).arg(folder).arg(number.to_string());
        Ok(command)
    }

    fn send(&self, file: &Path, receivers: usize) -> Result<Command> {
        let mut command = Command::new(super::sweep::peer("norm-cast"));
        command.args(["send", "eth0"]).arg(file);
        command.args(
            [receivers, self.rate as usize, self.code.0.into(), self.code.1.into()].map(|n| n.to_string()),
        );
        Ok(command)
    }
}
