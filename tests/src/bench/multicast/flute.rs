//! FLUTE (RFC 6726) as the crate of that name does it, with the commands it brings.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::caster::Caster;
use crate::lab::Host;

/// FLUTE at a fixed rate: there is no feedback, so that nobody knows whether all have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flute {
    /// Mbit/s.
    pub(super) rate: u32,
    /// Symbols of a block, and parity of it in RaptorQ; without parity, no code.
    pub(super) code: (u16, u16),
}

impl Caster for Flute {
    fn name(&self) -> &'static str {
        "flute"
    }

    fn setting(&self) -> String {
        match self.code {
            (_, 0) => format!("{} Mbit/s, no code", self.rate),
            (sources, parity) => format!("{} Mbit/s, RaptorQ blocks of {sources} + {parity}", self.rate),
        }
    }

    fn payload(&self) -> u16 {
        1400
    }

    fn port(&self) -> u16 {
        3400
    }

    fn receive(&self, host: &Host, _: usize, folder: &Path, _: &Path) -> Result<Command> {
        let mut command = Command::new(super::sweep::peer("flute-receiver"));
        command.args(["--group", GROUP, "--interface", &host.address().to_string()]).arg(folder);
        Ok(command)
    }

    fn send(&self, file: &Path, _: usize) -> Result<Command> {
        let mut command = Command::new(super::sweep::peer("flute-sender"));
        command.args(["--destination", GROUP, "--bitrate", &(self.rate * 1000).to_string()]);
        command.args(["--fec", if self.code.1 == 0 { "no-code" } else { "raptorq" }]);
        let (sources, parity) = self.code;
        let times =
            std::fs::metadata(file)?.len().div_ceil(BLOCKS * u64::from(sources) * u64::from(self.payload()));
        command.args(["--source-block-length", &(u64::from(sources) * times).to_string()]);
        command.args(["--parity-symbols", &(u64::from(parity) * times).to_string()]);
        // Over and over, for those that lack something still.
        command.args(["--max-transfer-count", "100"]).arg(file);
        Ok(command)
    }

    fn ends(&self) -> bool {
        false
    }
}

const GROUP: &str = "239.77.5.1";
/// An object has no more of them; what is larger gets larger ones.
const BLOCKS: u64 = 255;
