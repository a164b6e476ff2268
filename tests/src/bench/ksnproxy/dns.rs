//! DNS: the same hashes as names, with an address for each. One server has the zone, the others keep its answers.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Result, ensure};

use super::effort::Effort;
use super::generator::{Flow, Make, Protocol, Until, drive};
use super::hits::WINDOW;
use super::keys::{Draw, key, name};
use super::rig::Rig;
use crate::fleet::PATIENCE;
use crate::lab::{Process, wait_until};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Knot,
    Unbound,
    Dnsdist,
}

/// The zone, and whoever answers from it.
pub(super) struct Zone {
    _knot: Process,
}

impl Zone {
    /// Knot with the zone, which the others ask for what they do not have yet.
    pub(super) fn start(rig: &Rig, keys: u32) -> Result<(Self, u32)> {
        let mut zone = String::from(
            "$ORIGIN t.\n$TTL 86400\n@ SOA ns admin 1 3600 600 864000 3600\n@ NS ns\nns A 127.0.0.1\n",
        );
        for number in 0..keys {
            let _ = writeln!(zone, "{} A 127.0.0.2", name(number));
        }
        let (file, config) = (rig.path("t.zone"), rig.path("knot.conf"));
        std::fs::write(&file, zone)?;
        let settings = format!(
            "server:\n    rundir: {folder:?}\n    listen: [ {address}@{KNOT}, 127.0.0.1@{KNOT} ]\n    \
             udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
             log:\n  - target: stderr\n    any: warning\n\
             database:\n    storage: {folder:?}\n\
             zone:\n  - domain: t\n    file: {file:?}\n",
            folder = rig.folder(),
            address = rig.address(),
        );
        std::fs::write(&config, settings)?;
        let mut command = Command::new("/usr/sbin/knotd");
        command.arg("-c").arg(config);
        let knot = rig.core().spawn("knotd", command)?;
        rig.server.wait_for_listener(KNOT, PATIENCE)?;
        let process = knot.id();
        warm(rig, Server::Knot, process, keys)?;
        Ok((Self { _knot: knot }, process))
    }
}

impl Server {
    /// As it stands in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Knot => "Knot DNS",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
        }
    }

    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Knot => KNOT,
            Self::Unbound => 5301,
            Self::Dnsdist => 5302,
        }
    }

    /// Starts one that keeps answers, on the servers' core, and has it keep all of them.
    pub(super) fn start_cache(self, rig: &Rig, keys: u32) -> Result<Process> {
        let config = rig.path(self.name());
        let (settings, mut command) = match self {
            Self::Unbound => (unbound(rig), Command::new("/usr/sbin/unbound")),
            _ => (dnsdist(rig), Command::new("/usr/bin/dnsdist")),
        };
        std::fs::write(&config, settings)?;
        match self {
            Self::Unbound => command.arg("-d").arg("-c").arg(config),
            _ => command.args(["--supervised", "--disable-syslog", "-C"]).arg(config),
        };
        let process = rig.core().spawn(self.name(), command)?;
        rig.server.wait_for_listener(self.port(), PATIENCE)?;
        warm(rig, self, process.id(), keys)?;
        Ok(process)
    }
}

/// Asks until there is an answer, and then for everything.
fn warm(rig: &Rig, server: Server, process: u32, keys: u32) -> Result<()> {
    let to = (rig.at(server.port()), process);
    let up = || Ok(drive::<1>(rig, to, MAKE, 1, &mut Draw::in_turn(keys), Until::Answers(1)).ok());
    ensure!(wait_until(PATIENCE, up)?.is_some(), "{} does not answer", server.name());
    drive::<1>(rig, to, MAKE, 16, &mut Draw::in_turn(keys), Until::Answers(u64::from(keys) * 2))?;
    Ok(())
}

fn unbound(rig: &Rig) -> String {
    format!(
        "server:\n  directory: {folder:?}\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         logfile: \"\"\n  do-daemonize: no\n  num-threads: 1\n  so-reuseport: yes\n  interface: {address}\n  \
         port: {port}\n  access-control: 0.0.0.0/0 allow\n  do-not-query-localhost: no\n  do-ip6: no\n  \
         module-config: \"iterator\"\n  msg-cache-size: 64m\n  rrset-cache-size: 128m\n\
         stub-zone:\n  name: \"t.\"\n  stub-addr: 127.0.0.1@{KNOT}\nremote-control:\n  control-enable: no\n",
        folder = rig.folder(),
        address = rig.address(),
        port = Server::Unbound.port(),
    )
}

fn dnsdist(rig: &Rig) -> String {
    format!(
        "setSecurityPollSuffix(\"\")\nsetLocal(\"{}:{}\")\nsetACL({{\"0.0.0.0/0\"}})\n\
         newServer({{address=\"127.0.0.1:{KNOT}\", checkName=\"ns.t.\"}})\n\
         getPool(\"\"):setCache(newPacketCache(200000, {{maxTTL=86400}}))\n",
        rig.address(),
        Server::Dnsdist.port(),
    )
}

/// Questions for addresses.
pub(super) struct Datagrams;

impl Protocol for Datagrams {
    fn query(&mut self, serial: u64, number: u32, room: &mut [u8]) -> usize {
        let [.., high, low] = serial.to_be_bytes();
        room[..13].copy_from_slice(&[high, low, RECURSION, 0, 0, 1, 0, 0, 0, 0, 0, 0, LABEL_U8]);
        data_encoding::HEXLOWER.encode_mut(&key(number).bytes, &mut room[13..][..LABEL]);
        room[13 + LABEL..][..TAIL.len()].copy_from_slice(&TAIL);
        13 + LABEL + TAIL.len()
    }

    fn answer(&mut self, datagram: &mut [u8]) -> Option<u64> {
        let [high, low, _, code, _, _, answers_high, answers, ..] = *datagram else { return None };
        let found = code & 0xf == 0 && answers_high == 0 && answers > 0;
        found.then(|| u64::from(u16::from_be_bytes([high, low])))
    }
}

/// What a sample of a server's answers is asked with.
pub(super) fn sample(rig: &Rig, server: Server, process: u32, effort: &Effort) -> Result<Flow> {
    let to = (rig.at(server.port()), process);
    drive::<4>(rig, to, MAKE, WINDOW, &mut Draw::any(effort.keys), Until::Time(*effort))
}

const MAKE: Make<'static> = &|_| Ok(Box::new(Datagrams));

const KNOT: u16 = 5300;

/// The flag that asks for recursion.
const RECURSION: u8 = 1;
const LABEL: usize = 32;
const LABEL_U8: u8 = 32;

/// The end of the name, type A, class IN.
const TAIL: [u8; 7] = [1, b't', 0, 0, 1, 0, 1];
