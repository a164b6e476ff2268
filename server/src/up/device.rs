//! What the managed device of `klserver up` offers: an echo port, and sshd when the machine has one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener as AsyncListener;
use tokio::process::Command;

use super::place::Place;
use super::process::{Process, output};

/// A port of the loopback that sends back whatever comes.
pub(super) struct Echo {
    pub(super) port: u16,
}

impl Echo {
    /// Serves the echo port until this program ends.
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = match AsyncListener::bind((Ipv4Addr::LOCALHOST, ECHO_PORT)).await {
            Ok(listener) => listener,
            Err(_) => AsyncListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            let mut acceptor = klnet_tunnel::net::accept::Acceptor::new(listener);
            loop {
                let (mut stream, _) = acceptor.accept().await;
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    // Whoever connected may leave at any time.
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        Ok(Self { port })
    }
}

/// OpenSSH's server for this user, with keys of its own.
pub(super) struct Sshd {
    pub(super) port: u16,
    pub(super) process: Process,
}

impl Sshd {
    /// Starts sshd, if the machine has one.
    pub(super) async fn start(place: &Place) -> anyhow::Result<Option<Self>> {
        let Some(sshd) = find("sshd") else { return Ok(None) };
        let folder = place.ssh();
        keys(&folder).await?;
        let port = ssh_port()?;
        let config = folder.join("sshd_config");
        fs::write(&config, config_text(&folder, port))?;
        if rustix::process::geteuid().is_root() {
            // Debian makes it when its own sshd starts; as root sshd insists on it.
            fs::create_dir_all("/run/sshd")?;
        }
        let process = Process::start(
            "sshd",
            &place.logs(),
            Command::new(sshd).arg("-D").arg("-e").arg("-f").arg(&config),
        )?;
        Ok(Some(Self { port, process }))
    }
}

/// The configuration with which OpenSSH's client takes this device's sshd for what it is.
pub(super) fn ssh_config(place: &Place) -> PathBuf {
    place.ssh().join("config")
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

async fn keys(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["host_key", "id"] {
        let key = folder.join(name);
        if !key.exists() {
            let mut keygen = Command::new("ssh-keygen");
            output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "klserver up", "-f"]).arg(&key))
                .await?;
        }
    }
    fs::copy(folder.join("id.pub"), folder.join("authorized_keys"))?;
    let shown = folder.display();
    let client = format!(
        "IdentityFile \"{shown}/id\"\nIdentitiesOnly yes\nUserKnownHostsFile \"{shown}/known_hosts\"\n\
         StrictHostKeyChecking accept-new\n"
    );
    fs::write(folder.join("config"), client)?;
    Ok(())
}

fn config_text(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey \"{folder}/host_key\"\nAuthorizedKeysFile \"{folder}/authorized_keys\"\n\
         PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPrintMotd no\n{}",
        sftp().map_or(String::new(), |sftp| format!("Subsystem sftp {}\n", sftp.display()))
    )
}

fn sftp() -> Option<PathBuf> {
    let places =
        ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"];
    places.map(PathBuf::from).into_iter().find(|path| path.exists())
}

fn ssh_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, SSH_PORT));
    listener
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?
        .local_addr()
        .map(|address| address.port())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Echo is 7 (RFC 862); without privilege, this.
const ECHO_PORT: u16 = 7007;
/// SSH is 22; without privilege, this.
const SSH_PORT: u16 = 2222;
