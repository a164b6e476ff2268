//! What `klnagchk` says of each thing that can be wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::net::Ipv4Addr;
use std::time::SystemTime;

use fabric::api::{Answer, Api, discovery, refusal};
use fabric::control::Control;
use fabric::{DAY, Fabric, Place};
use klnet_agent::agent::Agent;
use klnet_agent::check::{Outcome, Report, STANDING, run};
use klnet_wire::identity::Role;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_connected_agent_passes_every_step_and_keeps_its_only_session() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let api = Api::start(&fabric, serving(&fabric, control.port(), 200)).await;
    let place = fabric.device(api.port, &[control.port()]);
    let shutdown = CancellationToken::new();
    let agent = tokio::spawn(Agent::open(&place.config()).unwrap().run(shutdown.clone()));
    let mut peer = control.welcome(0).await;
    peer.heartbeat().await;
    let folder = place.folder();
    let (report, handshake) = tokio::join!(run(&folder), control.handshake());
    assert!(report.is_ok(), "{report:#?}");
    assert!(ok(&report, "standing").contains("knows pc-7 in group /lab"));
    drop(handshake);
    peer.heartbeat().await;
    shutdown.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_device_that_was_never_enrolled_is_told_how() {
    let report = run(&Place::new().folder()).await;
    let (why, advice) = failed(&report, "identity");
    assert!(why.contains("not enrolled") && advice.contains("klnagent enroll"), "{why} {advice}");
    let skipped = report.steps.iter().filter(|step| step.outcome == Outcome::Skipped).count();
    assert_eq!(skipped, report.steps.len() - 2);
}

#[tokio::test]
async fn a_key_that_others_may_read_is_named() {
    let place = Fabric::new().device(1, &[]);
    let key = place.folder().path().join("device.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (why, _) = failed(&run(&place.folder()).await, "identity");
    assert!(why.contains("chmod 600"), "{why}");
}

#[tokio::test]
async fn a_name_without_address_is_dns() {
    let fabric = Fabric::new();
    let place = fabric.device_at("https://no..name", &fabric.servers(1, &[]), SystemTime::now());
    let report = run(&place.folder()).await;
    let (why, advice) = failed(&report, "https DNS");
    assert!(why.contains("cannot resolve no..name") && advice.contains("DNS"), "{why} {advice}");
    assert_eq!(outcome(&report, "https TCP"), &Outcome::Skipped);
}

#[tokio::test]
async fn a_closed_port_is_tcp() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let report = run(&Fabric::new().device(port, &[port]).folder()).await;
    for step in ["https TCP", "control TCP"] {
        let (why, advice) = failed(&report, step);
        assert!(why.contains("refused") && advice.contains("klserver"), "{why} {advice}");
    }
    assert!(matches!(outcome(&report, "https DNS"), Outcome::Ok { .. }));
}

#[tokio::test]
async fn another_program_on_the_port_is_tls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-other\r\n").await;
        }
    });
    let report = run(&Fabric::new().device(port, &[]).folder()).await;
    let (why, advice) = failed(&report, "https TLS");
    assert!(why.contains("not as a klnet server") && advice.contains("proxy"), "{why} {advice}");
}

#[tokio::test]
async fn a_server_of_another_fabric_is_the_certificate() {
    let (fabric, other) = (Fabric::new(), Fabric::new());
    let api = Api::start(&other, serving(&other, 1, 200)).await;
    let report = run(&fabric.device(api.port, &[]).folder()).await;
    let (why, advice) = failed(&report, "https certificate");
    assert!(why.contains("another fabric") && advice.contains("wrong server"), "{why} {advice}");
    assert_eq!(outcome(&report, "discovery"), &Outcome::Skipped);
}

#[tokio::test]
async fn a_clock_that_is_slow_is_the_clock_with_its_skew() {
    let fabric = Fabric::new();
    let ahead = 10 * DAY;
    let identity = fabric.identity_from(Role::Server, SystemTime::now() + ahead);
    let api = Api::start_as(&fabric, &identity, ahead, serving(&fabric, 1, 200)).await;
    let report = run(&fabric.device(api.port, &[]).folder()).await;
    let (why, advice) = failed(&report, "https certificate");
    assert!(why.starts_with("clock wrong: this device's clock is 10 days behind"), "{why}");
    assert!(advice.contains("set this device's clock"), "{advice}");
    assert!(ok(&report, "clock").contains("10 days behind"));
}

#[tokio::test]
async fn a_certificate_past_its_time_is_told_from_a_wrong_clock() {
    let fabric = Fabric::new();
    let api = Api::start(&fabric, serving(&fabric, 1, 200)).await;
    let enrolled = SystemTime::now() - 100 * DAY;
    let place = fabric.device_from(api.port, &fabric.servers(1, &[]), enrolled);
    let (why, advice) = failed(&run(&place.folder()).await, "clock");
    assert!(why.starts_with("certificate out of date, not the clock: this device's certificate"), "{why}");
    assert!(advice.contains("--force"), "{advice}");
}

#[tokio::test]
async fn a_revoked_device_reads_the_servers_words() {
    let fabric = Fabric::new();
    let api = Api::start(&fabric, serving(&fabric, 1, 403)).await;
    let report = run(&fabric.device(api.port, &[]).folder()).await;
    let (why, advice) = failed(&report, "standing");
    assert_eq!(why, "the server refuses this device: pc-7 was revoked by anna");
    assert!(advice.contains("new token"), "{advice}");
}

#[tokio::test]
async fn a_list_signed_by_somebody_else_is_discovery() {
    let (fabric, other) = (Fabric::new(), Fabric::new());
    let reply = discovery(&fabric.keys(1), &other.servers(9, &[1]));
    let api = Api::start(&fabric, Box::new(move |_, _| (200, reply.clone()))).await;
    let report = run(&fabric.device(api.port, &[]).folder()).await;
    let (why, _) = failed(&report, "discovery");
    assert!(why.contains("not signed by the fabric's directory key"), "{why}");
}

#[tokio::test]
async fn a_control_server_that_refuses_the_certificate_is_found_out() {
    let (fabric, other) = (Fabric::new(), Fabric::new());
    let identity = fabric.identity(Role::Server);
    let control = Control::start_as(&other, &identity).await;
    let api = Api::start(&fabric, serving(&fabric, control.port(), 200)).await;
    let place = fabric.device(api.port, &[control.port()]);
    let folder = place.folder();
    let (report, _) = tokio::join!(run(&folder), control.handshake());
    let (why, _) = failed(&report, "control certificate");
    assert!(why.contains("does not accept this device's certificate"), "{why}");
}

#[tokio::test]
async fn an_agent_that_does_not_run_is_the_last_step() {
    let fabric = Fabric::new();
    let api = Api::start(&fabric, serving(&fabric, 1, 200)).await;
    let report = run(&fabric.device(api.port, &[]).folder()).await;
    let (why, advice) = failed(&report, "agent");
    assert!(why.contains("no klnagent is running") && advice.contains("systemctl start"), "{why} {advice}");
    assert_eq!(report.steps.last().unwrap().name, "agent");
}

/// Discovery, and how the device stands: 200, or refused.
fn serving(fabric: &Fabric, control: u16, standing: u16) -> Answer {
    let lists = discovery(&fabric.keys(1), &fabric.servers(2, &[control]));
    Box::new(move |path, _| match (path, standing) {
        (STANDING, 200) => (200, r#"{"name":"pc-7","group":"/lab"}"#.into()),
        (STANDING, status) => (status, refusal("pc-7 was revoked by anna")),
        _ => (200, lists.clone()),
    })
}

fn outcome<'a>(report: &'a Report, name: &str) -> &'a Outcome {
    &report.steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("no step {name}")).outcome
}

fn ok<'a>(report: &'a Report, name: &str) -> &'a str {
    match outcome(report, name) {
        Outcome::Ok { detail } => detail,
        other => panic!("{name}: {other:?}"),
    }
}

fn failed(report: &Report, name: &str) -> (String, String) {
    match outcome(report, name) {
        Outcome::Failed { why, advice } => (why.clone(), advice.clone()),
        other => panic!("{name}: {other:?}"),
    }
}
