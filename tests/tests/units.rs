//! The units and accounts that packages install, as systemd itself reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klnet_tests::need_programs;

#[test]
fn units_are_well_formed_and_start_what_there_is() -> Result<()> {
    if !need_programs(&["systemd-analyze"]) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for unit in units() {
        let installed = folder.path().join(unit.file_name().context("a name")?);
        fs::write(&installed, with_built_program(&fs::read_to_string(&unit)?)?)?;
        let said = said(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&installed))?;
        ensure!(said.trim().is_empty(), "{}: {said}", unit.display());
    }
    Ok(())
}

#[test]
fn units_leave_a_service_little_to_harm_with() -> Result<()> {
    if !need_programs(&["systemd-analyze"]) {
        return Ok(());
    }
    for unit in units() {
        let threshold = format!("--threshold={EXPOSURE}");
        said(Command::new("systemd-analyze").args(["security", "--offline=true", &threshold]).arg(&unit))?;
    }
    Ok(())
}

#[test]
fn the_account_of_each_unit_is_made() -> Result<()> {
    for unit in units() {
        let text = fs::read_to_string(&unit)?;
        let account = text.lines().find_map(|line| line.strip_prefix("User=")).context("an account")?;
        let state = text.lines().find_map(|line| line.strip_prefix("StateDirectory=")).context("a folder")?;
        let accounts = unit.with_extension("sysusers");
        let made = fs::read_to_string(&accounts)?;
        let line = made.lines().find(|line| line.starts_with("u ")).context("a line for an account")?;
        let of_the_unit = line.starts_with(&format!("u {account} "));
        ensure!(of_the_unit && line.ends_with(&format!(" /var/lib/{state}")), "{line}");
        if need_programs(&["systemd-sysusers"]) {
            said(Command::new("systemd-sysusers").arg("--dry-run").arg(&accounts))?;
        }
    }
    Ok(())
}

/// The unit with the programs built here, after asking them whether they take its arguments.
fn with_built_program(unit: &str) -> Result<String> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("a command")?;
    let mut words = command.split_whitespace();
    let installed = words.next().context("a program")?;
    let name = installed.strip_prefix("/usr/bin/").context("a program of the package")?;
    let program = klnet_tests::program(name)?;
    said(Command::new(&program).args(words).arg("--help"))?;
    Ok(unit.replace(installed, &program.display().to_string()))
}

/// What a program printed to standard error; its failure is an error.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    Ok(said)
}

fn units() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    ["agent/systemd/klnagent.service", "server/systemd/klserver.service"].map(|unit| root.join(unit))
}

/// Highest exposure, in tenths, as `systemd-analyze security` counts it: both units are below 1.7.
const EXPOSURE: u32 = 20;
