//! The project's own commands, built and ready to start.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// Where `klserver`, `klctl`, `klnagent`, `klnagchk`, `klmover`, `klsctunnel`, `klcast`, `ksnproxy` or `ksnserver` is, as built from the sources at hand.
///
/// The first call of a process has cargo bring them up to date: these are commands of other crates, which a plain
/// `cargo test` does not promise to build. The profile is that of the running test.
///
/// # Errors
/// When they do not build, or there is no such command.
pub fn program(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let path = folder.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.join(name);
    ensure!(path.is_file(), "there is no command {name}");
    Ok(path)
}

/// Builds the commands and returns their folder.
fn build() -> Result<PathBuf> {
    // A test runs from PROFILE/deps, a benchmark from PROFILE itself.
    let own = std::env::current_exe()?;
    let folder =
        own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("a program has a folder")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--bins"]);
    cargo.args([
        "-p",
        "klnet-server",
        "-p",
        "klnet-agent",
        "-p",
        "klnet-tunnel",
        "-p",
        "klnet-multicast",
        "-p",
        "klnet-ksnproxy",
    ]);
    // Set for this test by the cargo that runs it. Build scripts watch these; with them everything is built again.
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| OWN.iter().any(|own| name.to_string_lossy().starts_with(own))) {
        cargo.env_remove(name);
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    ensure!(cargo.status().context("cannot start cargo")?.success(), "the commands do not build");
    Ok(folder.to_owned())
}

/// How the names of variables begin that cargo sets for a program it runs.
const OWN: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
