//! The `klctl` command against a running server: what an administrator does from the first login on.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // clippy knows tests, but not what they share

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_server::config::Config;
use klnet_server::fabric::Fabric;
use klnet_server::fleet::Fleet;
use klnet_server::service::Service;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest, parse_pin};
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_invites_enrols_moves_and_revokes() {
    let site = Site::start().await;
    site.administrator().await;
    assert_eq!(site.ok("root", "whoami").await, format!("root (administrator) at {}\n", site.url));

    let line = site.ok("root", "operator add anna --role tunnel").await;
    let invited: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(invited[..3], ["klctl", "login", &site.url]);
    site.ok("anna", &invited[1..].join(" ")).await;
    let (code, said) = site.klctl("anna", "token create").await;
    assert_eq!((code, said.as_str()), (3, "klctl: this takes the right to administer\n"));

    site.ok("root", "group add /office").await;
    let line = site.ok("root", "token create --group /office").await;
    let id = enrol(&line, HOSTILE).await;
    let device: Value = serde_json::from_str(&site.ok("root", "devices --json").await).unwrap();
    assert_eq!((&device[0]["id"], &device[0]["group"]), (&Value::from(id.as_str()), &Value::from("/office")));
    for command in ["devices".to_owned(), "devices --json".to_owned(), format!("device show {}", &id[..6])] {
        let shown = site.ok("root", &command).await;
        assert!(shown.contains("pc") && !shown.trim_end().replace('\n', "").contains(acts), "{shown:?}");
    }
    assert!(site.ok("root", &format!("device move {id} /")).await.ends_with("is in / now\n"));

    let (code, said) = site.klctl("root", &format!("tunnel grant {id} 22")).await;
    assert!(code == 3 && said.contains("offline"), "{said}");
    assert_eq!(site.ok("root", "tunnels").await, "No tunnel is open\n");
    assert_eq!(site.ok("root", "tunnels --json").await, "[]\n");

    site.ok("root", &format!("revoke device {} --reason stolen", &id[..8])).await;
    assert!(site.ok("root", "devices").await.contains("revoked"));
    site.ok("root", "revoke operator anna").await;
    let (code, said) = site.klctl("anna", "whoami").await;
    assert_eq!((code, said.as_str()), (3, "klctl: operator anna was revoked\n"));

    let audit = site.ok("root", "audit -n 100").await;
    let wanted =
        ["operator.add", "operator.login", "token.add", "device.enroll", "device.move", "device.revoke"];
    let found = wanted.map(|action| audit.find(action).unwrap_or_else(|| panic!("no {action} in {audit}")));
    assert!(found.is_sorted(), "{audit}");
    assert!(audit.contains("reason=stolen") && !audit.replace('\n', "").contains(acts), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_once_and_never_overwrites_a_profile() {
    let site = Site::start().await;
    let invitation = site.administrator().await;
    let mode = fs::metadata(site.profile("root")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, said) = site.klctl("other", &format!("login {} {invitation}", site.url)).await;
    assert!(code == 3 && said.contains("unknown, used or expired"), "{said}");
    assert!(!site.profile("other").exists());

    let line = site.ok("root", "operator add anna --role rdp").await;
    let login = line.trim_end().strip_prefix("klctl ").unwrap();
    let before = fs::read(site.profile("root")).unwrap();
    assert_eq!(site.klctl("root", login).await.0, 2);
    assert_eq!(fs::read(site.profile("root")).unwrap(), before);
    site.ok("anna", login).await; // not used up by the refusal
    // The invitation itself names the server, too.
    let line = site.ok("root", "operator add bea --role rdp").await;
    let invitation = line.split_whitespace().last().unwrap();
    site.ok("bea", &format!("login {invitation}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_who_refused() {
    let site = Site::start().await;
    site.administrator().await;
    for (line, code) in [
        ("--help", 0),
        ("completions bash", 0),
        ("man", 0),
        ("", 2),
        ("frobnicate", 2),
        ("operator add x --role king", 2),
        ("login kli1.damaged", 2),
        ("device show nobody", 3),
        ("group add /missing/x", 3),
        ("operator revoke root", 3),
        ("token remove 0123", 3),
        ("tunnel revoke 0123", 3),
    ] {
        assert_eq!(site.klctl("root", line).await.0, code, "{line}");
    }
    let (code, said) = site.klctl("nobody", "whoami").await;
    assert!(code == 1 && said.contains("nobody.profile"), "{said}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_not_reachable() {
    let site = Site::start().await;
    site.administrator().await;
    let folder = site.stop().await;
    let profile = folder.path().join("root.profile");
    let klctl = Command::new(COMMAND).arg("--profile").arg(profile).arg("whoami").output().await.unwrap();
    assert_eq!(klctl.status.code(), Some(4), "{}", String::from_utf8_lossy(&klctl.stderr));
}

/// A server in this process, and a folder of profiles.
struct Site {
    url: String,
    fleet: Arc<Fleet>,
    folder: TempDir,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Fabric::init(&state, SystemTime::now()).unwrap();
        let config = Config {
            state,
            hosts: vec!["127.0.0.1".into()],
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_port: 0,
            agent_ports: vec![0],
            tunnel_ports: vec![0],
            ..Config::parse("").unwrap()
        };
        let service = Service::start(config).await.unwrap();
        let url = format!("https://127.0.0.1:{}", service.announced().https_port);
        let (fleet, shutdown) = (service.fleet().clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { service.run(stop).await });
        Self { url, fleet, folder, shutdown, running }
    }

    /// Logs the first administrator in, and gives the invitation that was used.
    async fn administrator(&self) -> String {
        let (_, invitation) = self.fleet.add_first_operator("root", Duration::from_secs(60)).await.unwrap();
        self.ok("root", &format!("login {} {invitation}", self.url)).await;
        invitation
    }

    /// Runs a line as the operator whose profile has this name; it must succeed.
    async fn ok(&self, who: &str, line: &str) -> String {
        let (code, said) = self.klctl(who, line).await;
        assert_eq!(code, 0, "klctl {line}: {said}");
        said
    }

    /// Runs a line; gives the exit code, and what was said where it belongs.
    async fn klctl(&self, who: &str, line: &str) -> (i32, String) {
        let mut command = Command::new(COMMAND);
        command.args(line.split_whitespace()).env("KLNET_PROFILE", self.profile(who));
        let output = command.output().await.unwrap();
        let code = output.status.code().unwrap();
        let said = if code == 0 { output.stdout } else { output.stderr };
        (code, String::from_utf8(said).unwrap())
    }

    fn profile(&self, who: &str) -> PathBuf {
        self.folder.path().join(format!("{who}.profile"))
    }

    async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.folder
    }
}

/// Does what `klnagent enroll` does with the pasted line; gives the device's id.
async fn enrol(line: &str, host_name: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["klnagent", "enroll", "--server", url, "--root", root, "--token", token] = words[..] else {
        panic!("not the line to paste: {line}")
    };
    let key = SigningKey::generate_p256();
    let asked = EnrollRequest {
        token: token.to_owned(),
        request: BASE64URL_NOPAD.encode(&request(&key).unwrap()),
        host_name: host_name.to_owned(),
        os: host_name.to_owned(),
    };
    let pin = parse_pin(root).unwrap();
    let reply: EnrollReply = Client::pinned(url, pin).unwrap().post("/api/v1/enroll", &asked).await.unwrap();
    let role = klnet_wire::identity::Role::Agent;
    let enrolled = reply.verify(&pin, key.public(), role, SystemTime::now()).unwrap();
    enrolled.principal.id::<()>().to_string()
}

/// Whether a character would act on a terminal, or turn text around.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const HOSTILE: &str = "pc\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2066}\r\n=1+1<script>";
const COMMAND: &str = env!("CARGO_BIN_EXE_klctl");
