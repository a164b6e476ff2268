//! The device's private key in a token of SoftHSM: the commands as processes, against servers on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;
mod softhsm;

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fabric::api::{Answer, Api, discovery};
use fabric::control::Control;
use fabric::{DAY, Fabric, Place, SOON};
use klnet_agent::check::STANDING;
use klnet_agent::state::Settled;
use klnet_wire::identity::Principal;
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::identity::pem::chain_from_pem;
use klnet_wire::identity::trust::public_key_of;
use klnet_wire::net::renew::RENEW;
use klnet_wire::signed::PublicKey;
use serde_json::Value;
use softhsm::SoftHsm;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn a_key_is_made_in_the_token_and_stays_there_through_renewal_and_restart() {
    let Some(site) = Site::with_certificates_of(70 * DAY).await else { return };
    site.enrolled().await;
    let (listed, key) = (site.token.private_keys(PIN), site.certified_key());
    assert_eq!(listed.matches("Private Key Object; EC").count(), 1, "{listed}");
    assert!(listed.contains("sensitive, always sensitive, never extractable, local"), "{listed}");
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    assert!(listed.contains(&data_encoding::HEXLOWER.encode(digest.as_ref())), "{listed}");
    assert!(site.file("device.key").starts_with("pkcs11:id=%"), "{}", site.file("device.key"));
    let (mut agent, old) = (site.run(), site.serial());
    let first = site.control.welcome(10).await;
    let mut renewed = site.control.welcome(10).await;
    renewed.heartbeat().await;
    drop(first);
    assert!(site.serial() != old && site.certified_key() == key, "another certificate of the same key");
    agent.kill().await.unwrap();
    let _agent = site.run();
    site.control.welcome(10).await.heartbeat().await;
    assert!(site.step("key").await["detail"].as_str().unwrap().contains("in a token"));
    assert_eq!(site.token.private_keys(PIN), listed);
}

#[tokio::test]
async fn a_refused_pin_is_not_tried_again_before_its_file_changes() {
    let Some(site) = Site::new().await else { return };
    site.enrolled().await;
    site.token.write_pin("000000");
    let mut agent = site.run();
    site.keyless(&agent, "refuses the PIN").await;
    // It would be let in now, and would not be if it had tried once more before.
    site.token.change_pin(PIN, "000000");
    let (why, advice) = site.failed("key").await;
    assert!(why.contains("not tried again") && advice.contains("correct the PIN"), "{why} {advice}");
    agent.kill().await.unwrap();
    let agent = site.run();
    site.keyless(&agent, "refuses the PIN").await;
    let status = site.command("klnagent", &["status"]).output().await.unwrap();
    assert_eq!(status.status.code(), Some(5));
    assert!(text(&status).contains("without its key"), "{}", text(&status));
    site.token.change_pin("000000", PIN);
    site.token.write_pin(PIN);
    site.control.welcome(10).await.heartbeat().await;
    assert!(!site.place.folder().path().join("pin.refused").exists());
}

#[tokio::test]
async fn a_token_that_is_away_is_waited_for() {
    let Some(site) = Site::new().await else { return };
    site.enrolled().await;
    let agent_file = site.file("agent.json");
    site.token.take_out();
    let agent = site.run();
    site.keyless(&agent, "there is no token with label \"klnet\"").await;
    let (_, advice) = site.failed("key").await;
    assert!(advice.contains("put the token in"), "{advice}");
    site.token.put_in();
    let peer = site.control.welcome(10).await;
    // In the middle of a session the token is reset: it is another one, of the same name.
    site.token.save();
    site.token.reset(PIN);
    peer.vanish().await;
    site.keyless(&agent, "holds no private key pkcs11:id=").await;
    site.token.put_in();
    site.control.welcome(10).await.heartbeat().await;
    assert_eq!(site.file("agent.json"), agent_file, "it is the same device");
}

#[tokio::test]
async fn a_module_that_is_missing_or_a_key_that_was_deleted_is_named() {
    let Some(site) = Site::new().await else { return };
    site.configure(&site.token.uri().replace("libsofthsm2.so", "no.so"));
    let output = site.enroll(&[]).await;
    assert_eq!(output.status.code(), Some(5));
    assert!(
        said(&output).contains("no.so cannot be used: ") && !said(&output).contains(PIN),
        "{}",
        said(&output)
    );
    site.configure(&site.token.uri());
    site.enrolled().await;
    site.token.delete_key(PIN);
    let agent = site.run();
    site.keyless(&agent, "holds no private key pkcs11:id=").await;
    let (_, advice) = site.failed("key").await;
    assert!(advice.contains("--force"), "{advice}");
    assert!(site.place.folder().is_enrolled());
}

#[tokio::test]
async fn a_copy_of_the_state_folder_connects_nowhere_without_the_token() {
    let Some(site) = Site::new().await else { return };
    site.enrolled().await;
    let other = SoftHsm::with_pin(PIN).unwrap();
    let thief = Site { token: other, ..site.copied() };
    thief.configure(&thief.token.uri());
    let mut agent = thief.run();
    thief.keyless(&agent, "holds no private key").await;
    agent.kill().await.unwrap();
    // Without device_key it is told what it lacks.
    thief.configure("file");
    let output = thief.command("klnagent", &["run"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("names a key in a token"), "{}", said(&output));
    // The negative control: with the token the copy is the device.
    thief.configure(&site.token.uri());
    let copy = Site { token: site.token, ..thief };
    let _agent = copy.run();
    copy.control.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn a_key_that_is_there_is_used_unless_it_could_leave_the_token() {
    let Some(site) = Site::new().await else { return };
    site.token.make_key(PIN, &["--extractable"]);
    let output = site.enroll(&[]).await;
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("it could leave the token"), "{}", said(&output));
    site.token.delete_key(PIN);
    site.token.make_key(PIN, &[]);
    let listed = site.token.private_keys(PIN);
    site.enrolled().await;
    assert_eq!(site.file("device.key"), "pkcs11:id=%0A;type=private\n");
    assert_eq!(site.token.private_keys(PIN), listed, "no other was made");
    let _agent = site.run();
    site.control.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn an_identity_that_replaces_another_has_a_key_of_its_own() {
    let Some(site) = Site::new().await else { return };
    site.enrolled().await;
    let (first, file) = (site.certified_key(), site.file("device.key"));
    let output = site.enroll(&["--force"]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(site.certified_key() != first && site.file("device.key") != file);
    let listed = site.token.private_keys(PIN);
    assert_eq!(listed.matches("Private Key Object; EC").count(), 2, "the first one stays: {listed}");
    let _agent = site.run();
    site.control.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn a_device_whose_new_server_does_not_welcome_it_goes_back_to_its_old_key() {
    let (Some(site), Some(next)) = (Site::new().await, Site::new().await) else { return };
    site.enrolled().await;
    let (key, file) = (site.certified_key(), site.file("device.key"));
    let arguments = next.invitation();
    let mut mover = site.command("klmover", &arguments.each_ref().map(String::as_str));
    let (moved, _) = tokio::join!(mover.output(), next.control.handshake());
    let moved = moved.unwrap();
    assert!(moved.status.success(), "{}", said(&moved));
    assert!(site.certified_key() == key, "until an agent starts");
    assert!(matches!(site.place.folder().settle().unwrap(), Settled::OnTrial(_)));
    assert!(site.certified_key() != key && site.file("device.key") != file);
    // The trial is nearly over.
    let soon = fabric::unix(SystemTime::now()) + 2;
    std::fs::write(site.place.folder().path().join("trial"), soon.to_string()).unwrap();
    let _agent = site.run();
    // It says HELLO with its new key, and nobody answers.
    next.control.hello().await.vanish().await;
    site.control.welcome(10).await.heartbeat().await;
    assert!(site.certified_key() == key && site.file("device.key") == file);
}

#[tokio::test]
async fn no_pin_is_ever_logged_printed_or_stored() {
    let Some(site) = Site::new().await else { return };
    let enrolled = site.enroll(&[]).await;
    let mut traced = site.command("klnagent", &["run"]);
    let agent = traced.env("KLNET_LOG", "trace").spawn().unwrap();
    let pid = agent.id().unwrap().to_string();
    // It says more than a pipe holds.
    let running = tokio::spawn(agent.wait_with_output());
    site.control.welcome(10).await.heartbeat().await;
    let checked = site.command("klnagchk", &[]).env("KLNET_LOG", "trace").output().await.unwrap();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    let ran = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    let mut written: Vec<Vec<u8>> =
        [enrolled, checked, ran].into_iter().flat_map(|it| [it.stdout, it.stderr]).collect();
    for file in std::fs::read_dir(site.place.folder().path()).unwrap() {
        written.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds =
        |word: &str| written.iter().any(|text| text.windows(word.len()).any(|part| part == word.as_bytes()));
    assert!(!holds(PIN), "the PIN is written somewhere");
    // The negative control: the same search finds what is no secret.
    assert!(holds("DEBUG") && holds("pkcs11:id="));
}

/// Unlike anything else that is written anywhere.
const PIN: &str = "canary-70415";

/// A device with a token, and the servers it knows.
struct Site {
    token: SoftHsm,
    place: Arc<Place>,
    fabric: Arc<Fabric>,
    control: Arc<Control>,
    api: Arc<Api>,
}

impl Site {
    async fn new() -> Option<Self> {
        Self::with_certificates_of(Duration::ZERO).await
    }

    /// Enrolment gives certificates that were made so long ago.
    async fn with_certificates_of(age: Duration) -> Option<Self> {
        let token = SoftHsm::with_pin(PIN)?;
        let fabric = Arc::new(Fabric::made_at(SystemTime::now() - 400 * DAY));
        let control = Control::start(&fabric).await;
        let api = Api::start(&fabric, serving(&fabric, control.port(), age)).await;
        let site = Self {
            token,
            place: Arc::new(Place::new()),
            fabric,
            control: Arc::new(control),
            api: Arc::new(api),
        };
        site.configure(&site.token.uri());
        Some(site)
    }

    /// Another machine with a copy of the state folder.
    fn copied(&self) -> Site {
        let place = Place::new();
        let (from, to) = (self.place.folder(), place.folder());
        for file in std::fs::read_dir(from.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
        let (fabric, control, api) = (self.fabric.clone(), self.control.clone(), self.api.clone());
        Site { token: SoftHsm::with_pin(PIN).unwrap(), place: Arc::new(place), fabric, control, api }
    }

    fn configure(&self, device_key: &str) {
        std::fs::write(self.config(), format!("device_key = {device_key:?}\n[ports]\nneighbours = 0\n"))
            .unwrap();
    }

    fn config(&self) -> PathBuf {
        self.place.folder().path().with_extension("toml")
    }

    async fn enroll(&self, more: &[&str]) -> Output {
        let mut enroll = self.command("klnagent", &["enroll"]);
        timeout(SOON, enroll.args(self.invitation()).args(more).output()).await.unwrap().unwrap()
    }

    /// What a pasted line says.
    fn invitation(&self) -> [String; 6] {
        let (server, root) =
            (format!("https://127.0.0.1:{}", self.api.port), print_pin(&self.fabric.trust().pin()));
        ["--server".into(), server, "--root".into(), root, "--token".into(), "t".into()]
    }

    async fn enrolled(&self) {
        let output = self.enroll(&[]).await;
        assert!(output.status.success(), "{}", said(&output));
    }

    fn run(&self) -> Child {
        self.command("klnagent", &["run"]).stderr(Stdio::inherit()).spawn().unwrap()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(match program {
            "klnagent" => env!("CARGO_BIN_EXE_klnagent"),
            "klmover" => env!("CARGO_BIN_EXE_klmover"),
            _ => env!("CARGO_BIN_EXE_klnagchk"),
        });
        command
            .args(arguments)
            .arg("--state")
            .arg(self.place.folder().path())
            .arg("--config")
            .arg(self.config());
        let (name, value) = self.token.variable();
        command.env(name, value).env_remove("NOTIFY_SOCKET").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Waits until the running agent says that it is without its key, and why.
    async fn keyless(&self, agent: &Child, why: &str) {
        let waiting = async {
            loop {
                let output = self.command("klnagent", &["status", "--json"]).output().await.unwrap();
                let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let told = status["last_error"]["text"].as_str().unwrap_or_default();
                // That of an agent that ran before may be there still.
                let is_its_own = status["pid"].as_u64() == agent.id().map(u64::from);
                let code = output.status.code();
                if is_its_own
                    && status["connection"]["state"] == "keyless"
                    && told.contains(why)
                    && code == Some(5)
                {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{why}: {}", self.file("status.json")));
    }

    /// What klnagchk says of a step.
    async fn step(&self, name: &str) -> Value {
        let output = timeout(SOON, self.command("klnagchk", &["--json"]).output()).await.unwrap().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap().clone()
    }

    async fn failed(&self, name: &str) -> (String, String) {
        let step = self.step(name).await;
        assert_eq!(step["outcome"], "failed", "{step}");
        (step["why"].as_str().unwrap().to_owned(), step["advice"].as_str().unwrap().to_owned())
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.folder().path().join(name)).unwrap_or_default()
    }

    fn certified_key(&self) -> PublicKey {
        public_key_of(&chain_from_pem(&self.file("chain.pem")).unwrap()[0]).unwrap()
    }

    fn serial(&self) -> Vec<u8> {
        Principal::named_in(&chain_from_pem(&self.file("chain.pem")).unwrap()[0]).unwrap().serial
    }
}

fn serving(fabric: &Arc<Fabric>, control: u16, age: Duration) -> Answer {
    let (fabric, servers) = (fabric.clone(), fabric.servers(2, &[control]));
    Box::new(move |path, body| {
        let answer = match path {
            RENEW => serde_json::to_string(&fabric.renew(body, &servers)).unwrap(),
            STANDING => r#"{"name":"pc-7","group":"/lab"}"#.into(),
            klnet_agent::enroll::PATH => {
                let reply = fabric.enroll_at(body, &servers, SystemTime::now() - age);
                serde_json::to_string(&reply).unwrap()
            }
            _ => discovery(&fabric.keys(1), &servers),
        };
        (200, answer)
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
