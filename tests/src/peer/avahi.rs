//! avahi-daemon: announces services by multicast DNS, and browses what others announce.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::PATH;
use crate::lab::{Host, Process, wait_until};

/// A running avahi-daemon; its configuration and its `/run` are its own.
#[derive(Debug)]
pub struct Avahi {
    process: Process,
    _folder: TempDir,
}

impl Avahi {
    /// Announces `services` web servers, `Site 0` at port 8000 and so on, under the name `printer-7.local`; returns once
    /// all of them are established.
    ///
    /// # Errors
    /// When it does not start, or does not establish them within 20 s.
    pub fn announcing(host: &Host, services: u16, families: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("services");
        std::fs::create_dir(&place)?;
        for number in 0..services {
            std::fs::write(place.join(format!("{number}.service")), service(number))?;
        }
        let settings = format!("{families}\nenable-dbus=no\nratelimit-interval-usec=0");
        let process = start(host, folder.path(), "printer-7", &settings, "")?;
        // Whoever announces waits until nobody has objected to the names.
        let established = || {
            let established = process.output()?.matches("successfully established").count();
            Ok((established >= services.into()).then_some(()))
        };
        wait_until(PATIENCE, established)?.context("services are not established")?;
        Ok(Self { process, _folder: folder })
    }

    /// Announces nothing, and answers `avahi-browse` on this host.
    ///
    /// # Errors
    /// When it does not start.
    pub fn browsing(host: &Host) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bus = "mkdir /run/dbus && dbus-daemon --system --nopidfile && ";
        let mut process = start(host, folder.path(), "browser-1", "use-ipv6=no", bus)?;
        process.wait_for_line("startup complete", PATIENCE)?;
        Ok(Self { process, _folder: folder })
    }

    /// A command that sees this daemon's bus.
    pub fn command(&self, host: &Host, program: &str) -> Command {
        let mut command = host.command("nsenter");
        command.args(["--mount", "--target", &self.process.id().to_string(), program]);
        command
    }
}

fn start(host: &Host, folder: &Path, name: &str, settings: &str, before: &str) -> Result<Process> {
    let publish = "[publish]\npublish-workstation=yes\n";
    let text = format!("[server]\nhost-name={name}\nallow-interfaces=eth0\n{settings}\n{publish}");
    std::fs::write(folder.join("avahi-daemon.conf"), text)?;
    let script = format!(
        "mount --bind {} /etc/avahi && mount -t tmpfs none /run && mkdir /run/avahi-daemon && {before}\
         exec avahi-daemon --no-drop-root --no-chroot --no-rlimits",
        folder.display()
    );
    let mut command = host.command("unshare");
    Process::spawn("avahi-daemon", command.args(["--mount", "sh", "-c", &script]).env("PATH", PATH))
}

fn service(number: u16) -> String {
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE service-group SYSTEM \"avahi-service.dtd\"><service-group>\
         <name>Site {number}</name><service><type>_http._tcp</type><port>{}</port></service></service-group>",
        8000 + number
    )
}

const PATIENCE: Duration = Duration::from_secs(20);
