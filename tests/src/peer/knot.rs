//! knotd: an authoritative name server.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::PATH;
use crate::lab::{Host, Process};

/// A running knotd at port 53 of its host.
#[derive(Debug)]
pub struct Knot {
    _process: Process,
    _folder: TempDir,
}

impl Knot {
    /// Serves one zone, whose records are given as text of RFC 1035, 5.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serving(host: &Host, zone: &str, records: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path().display();
        let head = format!(
            "$ORIGIN {zone}.\n$TTL 3600\n@ SOA ns.example.org. root.example.org. 1 3600 600 86400 3600\n@ NS ns.example.org.\n"
        );
        std::fs::write(folder.path().join("zone"), head + records)?;
        let file = folder.path().join("knot.conf");
        std::fs::write(
            &file,
            format!(
                "server:\n    rundir: {at}\n    listen: 0.0.0.0@53\n    udp-workers: 1\n    tcp-workers: 1\n\
                 database:\n    storage: {at}\n\
                 log:\n  - target: stderr\n    any: info\n\
                 zone:\n  - domain: {zone}\n    file: {at}/zone\n"
            ),
        )?;
        let mut process =
            Process::spawn("knotd", host.command("knotd").env("PATH", PATH).arg("-c").arg(&file))?;
        process.wait_for_line("loaded", Duration::from_secs(20))?;
        Ok(Self { _process: process, _folder: folder })
    }
}
