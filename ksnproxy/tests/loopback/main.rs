//! A proxy and its upstreams on the loopback interface, asked on every port.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[cfg(feature = "import")]
mod replication;
mod stage;

use std::time::Duration;

use klnet_ksnproxy::counters::Counter;
use klnet_ksnproxy::net::client::{AskError, Datagrams, Plain, Refusal, Secure};
use klnet_ksnproxy::verdict::Reputation;
use stage::{Cloud, Stage, key, place};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_asks_by_every_way_and_gets_one_verdict() {
    let stage = Stage::start(|config| config).await;
    let mut secure = stage.secure().await;
    let ticket = secure.ticket().await.unwrap();
    let addresses = stage.proxy().addresses();
    let mut datagrams = Datagrams::connect("127.0.0.1", addresses.udp.port(), Some(ticket)).await.unwrap();
    for n in 1..=4 {
        let sealed = datagrams.query(&[key(n), key(n)]).await.unwrap();
        let within_tls = secure.query(&[key(n)]).await.unwrap();
        assert_eq!(sealed[0].reputation, Reputation::Malicious, "{sealed:?}");
        assert_eq!((sealed[1], within_tls[0].reputation), (sealed[0], sealed[0].reputation));
    }
    let json: serde_json::Value =
        stage.https().get(&format!("/v1/verdict/{}", stage::hash(1))).await.unwrap();
    assert_eq!(json["reputation"], "malicious");
    assert_eq!(stage.cloud.asked(), 4);
    assert_eq!(stage.proxy().counts().1, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_queries_are_refused_on_every_port_unless_they_are_allowed() {
    let stage = Stage::start(|config| config).await;
    let addresses = stage.proxy().addresses();
    let mut datagrams = Datagrams::connect("127.0.0.1", addresses.udp.port(), None).await.unwrap();
    assert!(matches!(datagrams.query(&[key(1)]).await, Err(AskError::Refused(Refusal::Plain))));
    let mut plain = Plain::connect("127.0.0.1", addresses.tcp.port()).await.unwrap();
    assert!(matches!(plain.query(&[key(1)]).await, Err(AskError::Refused(Refusal::Plain))));
    let anonymous = stage.anonymous_https();
    let refused = anonymous.get::<serde_json::Value>(&format!("/v1/verdict/{}", stage::hash(1))).await;
    assert_eq!(refused.unwrap_err().status(), Some(403));
    assert_eq!(stage.cloud.asked(), 0);

    let stage = Stage::start(|mut config| {
        config.allow_plain = true;
        config
    })
    .await;
    let addresses = stage.proxy().addresses();
    let mut datagrams = Datagrams::connect("127.0.0.1", addresses.udp.port(), None).await.unwrap();
    assert_eq!(datagrams.query(&[key(1)]).await.unwrap()[0].reputation, Reputation::Malicious);
    let mut plain = Plain::connect("127.0.0.1", addresses.tcp.port()).await.unwrap();
    assert_eq!(plain.query(&[key(1); 255]).await.unwrap().len(), 255);
    let anonymous = stage.anonymous_https();
    let json: serde_json::Value = anonymous.get(&format!("/v1/verdict/{}", stage::hash(1))).await.unwrap();
    assert_eq!(json["reputation"], "malicious");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_miss_one_key_at_once_cause_one_request() {
    let stage = Stage::start(|mut config| {
        // All of them come in this time, however busy the machine is.
        let long = Duration::from_secs(60);
        (config.proxy.timeout, config.proxy.patience) = (long, long);
        config
    })
    .await;
    let gate = stage.cloud.close();
    let mut asking = Vec::new();
    for _ in 0..20 {
        let ticket = stage.secure().await.ticket().await.unwrap();
        let port = stage.proxy().addresses().udp.port();
        asking.push(tokio::spawn(async move {
            let mut datagrams = Datagrams::connect("127.0.0.1", port, Some(ticket)).await.unwrap();
            datagrams.query(&[key(7); 8]).await.unwrap()
        }));
    }
    stage.cloud.wait_for(1).await;
    stage.until(|counts| counts.of(Counter::Received) >= 160).await;
    drop(gate);
    for answer in asking {
        assert!(answer.await.unwrap().iter().all(|verdict| verdict.reputation == Reputation::Malicious));
    }
    assert_eq!(stage.cloud.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_upstream_it_says_so_and_serves_what_it_knows() {
    let mut stage = Stage::start(|mut config| {
        config.policy.malicious = Duration::from_secs(1);
        config
    })
    .await;
    let mut secure = stage.secure().await;
    assert!(!secure.query(&[key(1)]).await.unwrap()[0].stale);
    stage.cloud.stop();
    let unavailable = secure.query(&[key(2)]).await.unwrap()[0];
    assert_eq!(unavailable.reputation, Reputation::Unavailable);
    assert!(unavailable.ttl >= Duration::from_secs(1));
    stage::until(async || {
        let verdict = secure.query(&[key(1)]).await.unwrap()[0];
        assert_eq!(verdict.reputation, Reputation::Malicious);
        verdict.stale
    })
    .await;
    stage.cloud = Cloud::restart(&stage.cloud).await;
    stage::until(async || secure.query(&[key(2)]).await.unwrap()[0].reputation == Reputation::Malicious)
        .await;
    stage::until(async || !secure.query(&[key(1)]).await.unwrap()[0].stale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_accepts_and_says_nothing_costs_no_more_than_its_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let stage = Stage::start(|mut config| {
        config.upstreams.insert(0, place(address));
        config
    })
    .await;
    let mut secure = stage.secure().await;
    for n in 1..=20 {
        // The first of them fail over to the second upstream, the others go there at once.
        assert_eq!(secure.query(&[key(n)]).await.unwrap()[0].reputation, Reputation::Malicious);
    }
    let counts = stage.proxy().counts().0;
    assert_eq!((counts.of(Counter::Succeeded), counts.of(Counter::Failed)), (20, 0));
    assert!(counts.of(Counter::Forwarded) < 35, "a dead upstream is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_what_was_not_asked_is_not_believed() {
    let stage = Stage::start(|config| config).await;
    let mut secure = stage.secure().await;
    stage.cloud.lie(true);
    let verdict = secure.query(&[key(1)]).await.unwrap()[0];
    assert_eq!(verdict.reputation, Reputation::Unavailable);
    stage.cloud.lie(false);
    stage::until(async || secure.query(&[key(1)]).await.unwrap()[0].reputation == Reputation::Malicious)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_learns_no_more_than_a_prefix_when_that_is_wanted() {
    let stage = Stage::start(|mut config| {
        config.prefix_bits = 24;
        config
    })
    .await;
    let mut secure = stage.secure().await;
    let verdicts = secure.query(&[key(1), key(2), stage::unknown()]).await.unwrap();
    let said: Vec<_> = verdicts.iter().map(|verdict| verdict.reputation).collect();
    assert_eq!(said, [Reputation::Malicious, Reputation::Malicious, Reputation::Unknown]);
    assert_eq!(stage.cloud.longest_prefix(), Some(24));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_no_certificate_gets_no_ticket() {
    let stage = Stage::start(|config| config).await;
    let anonymous = stage.anonymous_https();
    let refused = anonymous.post::<_, serde_json::Value>("/v1/ticket", &()).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
    let ticket: serde_json::Value = stage.https().post("/v1/ticket", &()).await.unwrap();
    assert_eq!(ticket["lifetime"], 3600);
    let stranger = Stage::start(|config| config).await;
    let (identity, trust) = stranger.device();
    let port = stage.proxy().addresses().tcp.port();
    assert!(Secure::connect("127.0.0.1", port, &identity, trust).await.is_err(), "another fabric's device");
}
