//! Real OpenSSH at both ends of a tunnel, where the machine has it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::Bench;

#[tokio::test]
async fn an_openssh_session_runs_through_the_tunnel() {
    let Some(sshd) = Sshd::start().await else { return eprintln!("skipped: this machine has no sshd") };
    let bench = Bench::new().await;
    let output = sshd.ssh(&bench, &["cat; echo done; exit 5"]).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{errors}");
    assert_eq!(output.status.code(), Some(5), "{errors}");
    let known = std::fs::read_to_string(sshd.folder.path().join("known")).unwrap();
    assert!(known.starts_with("web-7 "), "the host key is kept under the device's name: {known}");
}

#[tokio::test]
async fn bulk_data_crosses_an_openssh_session_whole() {
    let Some(sshd) = Sshd::start().await else { return eprintln!("skipped: this machine has no sshd") };
    let bench = Bench::new().await;
    let output = sshd.ssh(&bench, &["head -c 20000000 /dev/zero"]).output().await.unwrap();
    assert_eq!(output.stdout.len(), 20_000_000, "{}", String::from_utf8_lossy(&output.stderr));
}

/// An sshd of this user's own, on a port of its own.
struct Sshd {
    port: u16,
    folder: tempfile::TempDir,
    _process: Child,
}

impl Sshd {
    async fn start() -> Option<Self> {
        let program =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].map(PathBuf::from).into_iter().find(|path| path.exists())?;
        let folder = tempfile::tempdir().unwrap();
        for key in ["host", "user"] {
            make_key(&folder.path().join(key)).await;
        }
        std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized")).unwrap();
        // Some builds want the folder of their unprivileged process; only root can make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new(program);
        command
            .args(["-D", "-e", "-f", "/dev/null", "-o", "ListenAddress=127.0.0.1", "-p"])
            .arg(port.to_string());
        command
            .arg("-h")
            .arg(file("host"))
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", file("authorized")));
        command.args(["-o", "StrictModes=no", "-o", "PidFile=none"]);
        let process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().ok()?;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        Some(Self { port, folder, _process: process })
    }

    /// `klsctunnel ssh` to this server, with keys and known hosts of its own.
    fn ssh(&self, bench: &Bench, args: &[&str]) -> Command {
        let mut command = bench.command(&["ssh", &format!("web-7:{}", self.port)]);
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        command.arg("-i").arg(file("user")).arg("-o").arg(format!("UserKnownHostsFile={}", file("known")));
        command.args(["-F", "/dev/null", "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"]);
        command.args(["-o", "HashKnownHosts=no"]).args(args);
        command
    }
}

async fn make_key(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().await.unwrap();
    assert!(made.success());
}
