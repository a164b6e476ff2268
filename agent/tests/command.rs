//! The commands as processes: exit codes, signals, the service manager.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::sync::Arc;

use fabric::api::{Api, refusal};
use fabric::control::Control;
use fabric::{Fabric, Place, SOON};
use klnet_agent::status::{Connection, Status};
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::message::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

#[tokio::test]
async fn an_agent_is_enrolled_runs_as_a_service_and_stops_on_sigterm() {
    let fabric = Arc::new(Fabric::new());
    let (control, issuer) = (Control::start(&fabric).await, fabric.clone());
    let port = control.port();
    let answer = move |_: &str, body: &[u8]| {
        (200, serde_json::to_string(&issuer.enroll(body, &issuer.servers(1, &[port]))).unwrap())
    };
    let api = Api::start(&fabric, Box::new(answer)).await;
    let place = Place::new();
    let enrolled = enroll(&fabric, &api, &place).await;
    assert!(enrolled.status.success(), "{enrolled:?}");

    let notify = place.folder().path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let mut run = command("klnagent", &["run"], &place);
    let mut agent = run.env("NOTIFY_SOCKET", &notify).spawn().unwrap();
    assert_eq!(told(&manager).await, "READY=1\n");
    let mut peer = control.welcome(0).await;
    peer.heartbeat().await;
    let shown = output(command("klnagent", &["status"], &place)).await;
    assert!(shown.status.success() && text(&shown).contains("connected to 127.0.0.1"), "{shown:?}");

    terminate(&agent);
    assert!(matches!(peer.message().await, Some(Message::Goodbye(_))));
    assert!(timeout(SOON, agent.wait()).await.unwrap().unwrap().success());
    assert_eq!(told(&manager).await, "STOPPING=1\n");
    assert_eq!(output(command("klnagent", &["status"], &place)).await.status.code(), Some(1));
}

#[tokio::test]
async fn an_agent_that_was_banned_exits_so_that_nobody_starts_it_again() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let mut agent = command("klnagent", &["run"], &place).spawn().unwrap();
    control.hello().await.go_away(0, true).await;
    assert_eq!(timeout(SOON, agent.wait()).await.unwrap().unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_killed_agent_leaves_its_folder_usable() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let mut agent = command("klnagent", &["run"], &place).spawn().unwrap();
    let peer = control.welcome(0).await;
    agent.kill().await.unwrap();
    assert_eq!(agent.wait().await.unwrap().signal(), Some(9));
    let _ = peer.ended().await;
    let _again = command("klnagent", &["run"], &place).spawn().unwrap();
    control.welcome(0).await.heartbeat().await;
    assert!(matches!(Status::read(&place.folder()).unwrap().connection, Connection::Connected { .. }));
}

#[tokio::test]
async fn exit_codes_tell_refused_from_unreachable_and_from_wrong_usage() {
    let (fabric, place) = (Fabric::new(), Place::new());
    let api = Api::start(&fabric, Box::new(|_, _| (403, refusal("the token has expired")))).await;
    let refused = enroll(&fabric, &api, &place).await;
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the token has expired"), "{refused:?}");
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("t0ken"), "the token is never printed");
    let arguments = ["enroll", "--server", "https://no..name", "--root", &"0".repeat(64), "--token", "t"];
    assert_eq!(output(command("klnagent", &arguments, &place)).await.status.code(), Some(4));
    assert_eq!(output(command("klnagent", &["enroll"], &place)).await.status.code(), Some(2));
    assert_eq!(output(command("klnagent", &["run"], &place)).await.status.code(), Some(1));
}

#[tokio::test]
async fn klnagchk_prints_its_report_for_people_and_for_programs() {
    let place = Place::new();
    let people = output(command("klnagchk", &[], &place)).await;
    assert_eq!(people.status.code(), Some(1));
    assert!(text(&people).starts_with("FAILED  identity"), "{}", text(&people));
    let programs = output(command("klnagchk", &["--json"], &place)).await;
    let report: serde_json::Value = serde_json::from_slice(&programs.stdout).unwrap();
    assert_eq!(report["steps"][0]["outcome"], "failed");
}

#[tokio::test]
async fn completions_and_manual_are_printed() {
    for (name, program) in PROGRAMS {
        for arguments in [["completions", "bash"].as_slice(), &["man"]] {
            let printed = Command::new(program).args(arguments).output().await.unwrap();
            assert!(printed.status.success() && text(&printed).contains(name), "{name} {arguments:?}");
        }
        let help = Command::new(program).arg("--help").output().await.unwrap();
        assert!(text(&help).contains("\nExamples:\n"), "{}", text(&help));
    }
}

const PROGRAMS: [(&str, &str); 3] = [
    ("klnagent", env!("CARGO_BIN_EXE_klnagent")),
    ("klnagchk", env!("CARGO_BIN_EXE_klnagchk")),
    ("klmover", env!("CARGO_BIN_EXE_klmover")),
];

/// Enrols with the token on standard input, where no other process sees it.
async fn enroll(fabric: &Fabric, api: &Api, place: &Place) -> Output {
    let (server, root) = (format!("https://127.0.0.1:{}", api.port), print_pin(&fabric.trust().pin()));
    let arguments = ["enroll", "--server", &server, "--root", &root, "--token", "-"];
    let mut command = command("klnagent", &arguments, place);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"t0ken\n").await.unwrap();
    timeout(SOON, child.wait_with_output()).await.unwrap().unwrap()
}

fn command(program: &str, arguments: &[&str], place: &Place) -> Command {
    let program = match program {
        "klnagent" => env!("CARGO_BIN_EXE_klnagent"),
        "klmover" => env!("CARGO_BIN_EXE_klmover"),
        _ => env!("CARGO_BIN_EXE_klnagchk"),
    };
    let config = place.folder().path().join("agent.toml");
    std::fs::write(&config, "[ports]\nneighbours = 0\n").unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg("--state").arg(place.folder().path()).arg("--config").arg(config);
    command.kill_on_drop(true);
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(mut command: Command) -> Output {
    timeout(SOON, command.output()).await.unwrap().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = timeout(SOON, manager.recv(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn terminate(agent: &Child) {
    let pid = agent.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
}
