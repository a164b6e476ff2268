//! Twenty-five addresses of a /24 at which a real nmbd answers.

use std::time::Duration;

use anyhow::{Context, Result};

use super::beside;
use super::field::Field;
use super::peers::klpoll;
use crate::bench::{Options, Report};
use crate::lab::{Process, wait_until};

pub(super) fn twenty_five(options: &Options) -> Result<Report> {
    let field = Field::make(true, 24)?;
    for last in 10..10 + HOSTS {
        field.crowd.ip(&format!("addr add 10.88.0.{last}/24 dev eth0"))?;
    }
    let folder = tempfile::tempdir()?;
    let at = folder.path().display();
    let file = folder.path().join("smb.conf");
    std::fs::write(
        &file,
        format!(
            "[global]\nnetbios name = FILES-7\nworkgroup = OFFICE\nprivate dir = {at}\nlock directory = {at}\n\
             state directory = {at}\ncache directory = {at}\npid directory = {at}\ninterfaces = eth0\n"
        ),
    )?;
    let mut command = field.crowd.command("/usr/sbin/nmbd");
    command.args(["--foreground", "--no-process-group", "--debug-stdout", "--configfile"]).arg(&file);
    let _nmbd = Process::spawn("nmbd", &mut command)?;
    let ours = || {
        field.forget()?;
        let run = field.run(&mut klpoll(&["windows", &field.range, "--profile", "max", "--json"])?)?;
        let found = named(&run.out, "\"10.88.0.");
        Ok((run, found))
    };
    let theirs = || {
        field.forget()?;
        let run = field.run(field.poller.command("nbtscan").args(["-m", "1", &field.range]))?;
        let found = named(&run.out, "10.88.0.");
        Ok((run, found))
    };
    // It answers once it has registered its names.
    let all = || Ok((ours()?.1 == HOSTS).then_some(()));
    wait_until(Duration::from_secs(30), all)?.context("nmbd does not answer")?;
    beside(options, "25 NetBIOS names in a /24", (HOSTS, 100.0), ours, ("nbtscan", theirs))
}

/// The addresses of the answering hosts that are in a text.
fn named(text: &str, prefix: &str) -> usize {
    let is_there = |last: &usize| {
        let address = format!("{prefix}{last}");
        text.match_indices(&address)
            .any(|(at, _)| !text[at + address.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    (10..10 + HOSTS).filter(is_there).count()
}

const HOSTS: usize = 25;
