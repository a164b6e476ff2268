//! An agent and its control connection, against servers on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::time::{Duration, SystemTime};

use fabric::api::{Api, discovery, refusal};
use fabric::control::{Control, HEARTBEAT_MS};
use fabric::{Fabric, Place, SOON};
use klnet_agent::agent::{Agent, AgentError};
use klnet_agent::control::{Unreachable, dial};
use klnet_agent::directory::Candidate;
use klnet_agent::state::StateError;
use klnet_agent::status::{Connection, Status};
use klnet_wire::identity::tls::{ALPN_AGENT, client_config};
use klnet_wire::identity::{ChainError, Role};
use klnet_wire::message::{Hello, Message};
use klnet_wire::net::dial::DialError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_agent_introduces_itself_and_says_goodbye() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let agent = Running::start(&place);
    let mut peer = control.welcome(1000).await;
    assert_eq!((peer.hello.host_name.as_str(), peer.hello.key_set), ("pc-7", 1));
    assert_eq!(peer.hello.boot_id.len(), 16);
    assert!(peer.hello.clock.abs_diff(fabric::unix(SystemTime::now())) < 60);
    peer.heartbeat().await;
    let Connection::Connected { epoch, heartbeat_ms, .. } = status(&place).connection else {
        panic!("connected")
    };
    assert_eq!((epoch, heartbeat_ms), (peer.hello.epoch, HEARTBEAT_MS.into()));
    let stopping = tokio::spawn(agent.stop());
    assert!(matches!(peer.message().await, Some(Message::Goodbye(_))));
    stopping.await.unwrap().unwrap();
    assert_eq!(status(&place).connection, Connection::Stopped);
}

#[tokio::test]
async fn an_agent_comes_back_within_the_window_after_its_server_vanishes() {
    const WINDOW_MS: u32 = 400;
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let _agent = Running::start(&place);
    let mut first = control.welcome(WINDOW_MS).await;
    let Hello { boot_id, epoch, .. } = *first.hello.clone();
    first.heartbeat().await;
    first.vanish().await;
    let vanished = Instant::now();
    let second = control.welcome(WINDOW_MS).await;
    assert!(
        vanished.elapsed() < Duration::from_millis(u64::from(WINDOW_MS)) + SLACK,
        "{:?}",
        vanished.elapsed()
    );
    assert_eq!(second.hello.boot_id, boot_id, "it is the same process");
    assert_ne!(second.hello.epoch, epoch, "it is another session");
}

#[tokio::test]
async fn goaway_is_obeyed_and_the_agent_comes_back() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let _agent = Running::start(&place);
    control.welcome(3_600_000).await.go_away(200, false).await;
    let sent = Instant::now();
    let _ = control.welcome(0).await;
    assert!(sent.elapsed() < Duration::from_millis(200) + SLACK, "{:?}", sent.elapsed());
}

#[tokio::test]
async fn goaway_for_ever_stops_the_agent_with_the_servers_words() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let agent = Running::start(&place);
    control.hello().await.go_away(0, true).await;
    let ended = agent.ended().await;
    assert!(matches!(&ended, Err(AgentError::Banned(reason)) if reason == "revoked by anna"), "{ended:?}");
    assert_eq!(status(&place).connection, Connection::Banned { reason: "revoked by anna".into() });
}

#[tokio::test]
async fn the_next_server_is_dialled_when_one_is_down() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[closed_port().await, control.port()]);
    let _agent = Running::start(&place);
    let _ = control.welcome(0).await;
}

#[tokio::test]
async fn a_stored_list_serves_while_discovery_is_down() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let past_its_time = fabric.servers_until(1, &[control.port()], 2);
    let place = fabric.device_from(closed_port().await, &past_its_time, SystemTime::now());
    let _agent = Running::start(&place);
    let _ = control.welcome(0).await;
}

#[tokio::test]
async fn discovery_leads_to_a_server_that_has_moved() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let reply = discovery(&fabric.keys(2), &fabric.servers(5, &[control.port()]));
    let api = Api::start(&fabric, Box::new(move |_, _| (200, reply.clone()))).await;
    let place = fabric.device(api.port, &[closed_port().await]);
    let _agent = Running::start(&place);
    assert_eq!(control.welcome(0).await.hello.key_set, 2);
}

#[tokio::test]
async fn an_older_list_from_discovery_changes_nothing() {
    let fabric = Fabric::new();
    let (control, decoy) = (Control::start(&fabric).await, closed_port().await);
    let older = discovery(&fabric.keys(1), &fabric.servers(3, &[decoy]));
    let api = Api::start(&fabric, Box::new(move |_, _| (200, older.clone()))).await;
    let stale = fabric.servers_until(4, &[control.port()], 5);
    let place = fabric.device_from(api.port, &stale, SystemTime::now());
    let _agent = Running::start(&place);
    let _ = control.welcome(0).await;
}

#[tokio::test]
async fn newer_keys_are_kept_and_older_ones_refused_also_after_a_restart() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let place = fabric.device(1, &[control.port()]);
    let agent = Running::start(&place);
    let mut peer = control.welcome(0).await;
    peer.send(Message::Keys(fabric.keys(5))).await;
    peer.heartbeat().await;
    peer.send(Message::Keys(fabric.keys(3))).await;
    peer.send(Message::Keys(Fabric::new().keys(9))).await;
    peer.heartbeat().await;
    peer.go_away(0, false).await;
    let again = control.welcome(0).await;
    assert_eq!(again.hello.key_set, 5);
    agent.stop().await.unwrap();
    drop(again);
    let _agent = Running::start(&place);
    assert_eq!(control.welcome(0).await.hello.key_set, 5);
}

#[tokio::test]
async fn a_server_of_another_role_or_fabric_is_never_greeted() {
    let (fabric, other) = (Fabric::new(), Fabric::new());
    let operator = fabric.identity(Role::Operator);
    let error = refused_by(&fabric, &fabric, &operator).await;
    assert_eq!(error, ChainError::WrongRole { is: Role::Operator });
    let stranger = other.identity(Role::Server);
    assert_eq!(refused_by(&fabric, &other, &stranger).await, ChainError::OtherFabric);
}

#[tokio::test]
async fn one_folder_serves_one_agent() {
    let fabric = Fabric::new();
    let place = fabric.device(1, &[closed_port().await]);
    let _first = Agent::open(&place.config()).unwrap();
    let second = Agent::open(&place.config()).unwrap_err();
    assert!(matches!(second, AgentError::State(StateError::Locked { .. })), "{second}");
    assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");
}

#[tokio::test]
async fn a_server_that_refuses_before_welcome_is_left_and_tried_again() {
    let fabric = Fabric::new();
    let control = Control::start(&fabric).await;
    let reply = refusal("no");
    let api = Api::start(&fabric, Box::new(move |_, _| (503, reply.clone()))).await;
    let place = fabric.device(api.port, &[control.port()]);
    let _agent = Running::start(&place);
    control.hello().await.vanish().await;
    let _ = control.welcome(0).await;
    let error = status(&place).last_error.map(|error| error.text).unwrap_or_default();
    assert!(error.contains("before WELCOME"), "{error}");
}

/// Why an agent of `fabric` does not greet a server with `identity`.
async fn refused_by(
    fabric: &Fabric,
    of: &Fabric,
    identity: &klnet_wire::identity::tls::Identity,
) -> ChainError {
    let control = Control::start_as(of, identity).await;
    let own = fabric.identity(Role::Agent);
    let tls = client_config(Some(&own), fabric.trust(), &[ALPN_AGENT]).unwrap();
    let candidate = Candidate { host: "127.0.0.1".into(), port: control.port() };
    let candidates = [candidate];
    let (dialled, accepted) = tokio::join!(dial(&candidates, &tls), control.handshake());
    assert!(accepted.is_err());
    match dialled {
        Err(Unreachable(errors)) => match errors.into_iter().next() {
            Some(DialError::Certificate { error, .. }) => error,
            other => panic!("{other:?}"),
        },
        Ok(_) => panic!("it was greeted"),
    }
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Running {
    fn start(place: &Place) -> Self {
        let (agent, shutdown) = (Agent::open(&place.config()).unwrap(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) -> Result<(), AgentError> {
        self.shutdown.cancel();
        self.ended().await
    }

    async fn ended(self) -> Result<(), AgentError> {
        timeout(SOON, self.task).await.expect("the agent ends").unwrap()
    }
}

fn status(place: &Place) -> Status {
    Status::read(&place.folder()).expect("the agent writes its status")
}

/// A port of loopback where nothing listens.
async fn closed_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);
