//! The tools, and how each is told to do the same.

use std::process::Command;

use anyhow::{Context, Result};

use super::field::Field;
use crate::program;

/// A tool and its command line.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) command: fn(&Field) -> Result<Command>,
}

pub(super) const KLPOLL: Tool =
    Tool { name: "klpoll", command: |field| klpoll(&["range", &field.range, "--names", "none", "--csv"]) };

/// As fast as it goes without being told to lose hosts.
pub(super) const NMAP: Tool =
    Tool { name: "nmap -T5", command: |field| Ok(nmap_sweep(field, &["-PE", "-T5", "--min-rate", "20000"])) };

pub(super) const NMAP_CAREFUL: Tool =
    Tool { name: "nmap -T4", command: |field| Ok(nmap_sweep(field, &["-PE", "-T4"])) };

pub(super) const NMAP_TCP: Tool =
    Tool { name: "nmap -PS443 -T4", command: |field| Ok(nmap_sweep(field, &["-PS443", "-T4"])) };

pub(super) const NMAP_UNPRIVILEGED: Tool = Tool {
    name: "nmap --unprivileged -T4",
    command: |field| Ok(nmap_sweep(field, &["--unprivileged", "-T4"])),
};

/// A probe each millisecond; its default takes 80 s.
pub(super) const FPING: Tool = Tool {
    name: "fping -i1 -r1",
    command: |field| {
        let mut command = system("fping");
        command.args(["-a", "-q", "-i", "1", "-r", "1", "-g", &field.range]);
        Ok(command)
    },
};

pub(super) const ZMAP: Tool = Tool { name: "zmap", command: |field| zmap(field, "1") };

pub(super) const ZMAP_THRICE: Tool = Tool { name: "zmap -P 3", command: |field| zmap(field, "3") };

pub(super) const ARP_SCAN: Tool =
    Tool { name: "arp-scan -B 10M", command: |field| Ok(arp_scan(field, &["-B", "10M"])) };

pub(super) const ARP_SCAN_FASTEST: Tool =
    Tool { name: "arp-scan -B 50M", command: |field| Ok(arp_scan(field, &["-B", "50M"])) };

pub(super) const ARP_SCAN_DEFAULT: Tool =
    Tool { name: "arp-scan", command: |field| Ok(arp_scan(field, &[])) };

/// Our own command.
pub(super) fn klpoll(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("klpoll")?);
    command.args(arguments);
    Ok(command)
}

pub(super) fn nmap(arguments: &[&str]) -> Command {
    let mut command = Command::new("nmap");
    command.args(arguments);
    command
}

fn nmap_sweep(field: &Field, how: &[&str]) -> Command {
    let mut command = nmap(&["-sn", "-n", "-oG", "-"]);
    command.args(how).arg(&field.range);
    command
}

/// It is told the router's card: it waits for ever for a kernel of today to tell it.
fn zmap(field: &Field, probes: &str) -> Result<Command> {
    let shown = field.crowd.ip("-o link show dev eth0")?;
    let card = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    let mut command = system("zmap");
    command.args(["-G", card.context("the router's card has no address")?]);
    command.args([
        "-M",
        "icmp_echoscan",
        "-i",
        "eth0",
        "-r",
        "100000",
        "-c",
        "2",
        "-P",
        probes,
        "-q",
        "-o",
        "-",
    ]);
    command.args(["-b", "/dev/null", &field.range]);
    Ok(command)
}

fn arp_scan(field: &Field, speed: &[&str]) -> Command {
    let mut command = system("arp-scan");
    command.args(["-I", "eth0", "-q", "-x"]).args(speed).arg(&field.range);
    command
}

/// A program found also where a user's PATH does not reach.
fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
