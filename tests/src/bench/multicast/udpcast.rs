//! udpcast, which has neither encryption nor checks.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::caster::{Caster, placed};
use crate::lab::Host;

/// udpcast with options of its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Udpcast(pub(super) &'static [&'static str]);

impl Caster for Udpcast {
    fn name(&self) -> &'static str {
        "udpcast"
    }

    fn setting(&self) -> String {
        self.0.join(" ")
    }

    fn payload(&self) -> u16 {
        1456
    }

    fn port(&self) -> u16 {
        9000
    }

    fn receive(&self, _: &Host, _: usize, folder: &Path, file: &Path) -> Result<Command> {
        let mut command = Command::new("udp-receiver");
        command.args([
            "--interface",
            "eth0",
            "--nokbd",
            "--no-progress",
            "--mcast-rdv-address",
            "239.77.3.1",
        ]);
        command.arg("--file").arg(placed(folder, file));
        Ok(command)
    }

    fn send(&self, file: &Path, receivers: usize) -> Result<Command> {
        let mut command = Command::new("udp-sender");
        command.args(["--interface", "eth0", "--nokbd", "--no-progress", "--rexmit-hello-interval", "200"]);
        command.args(["--min-receivers", &receivers.to_string(), "--mcast-rdv-address", "239.77.3.1"]);
        command.args(["--mcast-data-address", "239.77.3.2"]).args(self.0).arg("--file").arg(file);
        Ok(command)
    }

    fn stays(&self) -> bool {
        false
    }
}
