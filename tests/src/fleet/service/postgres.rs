//! A real PostgreSQL on a host's loopback.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process, run};

/// A running PostgreSQL with an empty database; user `klnet`, any password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Postgres {
    /// Makes a new cluster and starts it on a port of the host's loopback.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Self::start_with(host, port, &["fsync=off", "shared_buffers=16MB"])
    }

    /// As [`Postgres::start`], with PostgreSQL's own defaults but for so many connections: what it answers is on the disk.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub fn start_durable(host: &Host, port: u16, connections: usize) -> Result<Self> {
        Self::start_with(host, port, &[&format!("max_connections={connections}")])
    }

    fn start_with(host: &Host, port: u16, settings: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-postgres-").tempdir()?;
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        let data = folder.path().join("data");
        let mut initdb = unprivileged(Command::new("setpriv"), &binary("initdb")?);
        initdb.args(["--auth=trust", "--username=klnet", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        run(initdb.arg(&data))?;
        let mut postgres = unprivileged(host.command("setpriv"), &binary("postgres")?);
        postgres.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        postgres
            .args(["-c", "unix_socket_directories="])
            .args(settings.iter().flat_map(|setting| ["-c", setting]));
        let mut process = Process::spawn("postgres", &mut postgres)?;
        process.wait_for_line("ready to accept connections", PATIENCE)?;
        Ok(Self { process, port, _folder: folder })
    }

    /// Whether this machine has one.
    #[must_use]
    pub fn is_installed() -> bool {
        binary("postgres").is_ok() && binary("initdb").is_ok()
    }

    /// The id of its first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A program that comes with it.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn binary(name: &str) -> Result<PathBuf> {
        binary(name)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes end with it only when they are asked; the folder goes after that.
        let _ = self.process.terminate(PATIENCE);
    }
}

/// PostgreSQL refuses to run as root. `setpriv` becomes the program, once it is on its host as somebody else.
fn unprivileged(mut setpriv: Command, program: &Path) -> Command {
    let nobody = NOBODY.to_string();
    setpriv.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program).current_dir("/");
    setpriv
}

/// Debian keeps a folder for each version, outside the PATH.
fn binary(name: &str) -> Result<PathBuf> {
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir(VERSIONS)?.flatten().map(|version| version.path().join("bin").join(name)).collect();
    versions.retain(|path| path.is_file());
    versions.sort_by_key(|path| number(path));
    versions.pop().with_context(|| format!("no {name} below {VERSIONS}"))
}

fn number(binary: &Path) -> u32 {
    let version = binary.ancestors().nth(2).and_then(Path::file_name).and_then(OsStr::to_str);
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

const VERSIONS: &str = "/usr/lib/postgresql";
/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
