//! An identity on trial, against servers on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::time::{SystemTime, UNIX_EPOCH};

use fabric::control::Control;
use fabric::{Fabric, Place};
use klnet_agent::agent::{Agent, AgentError};
use klnet_agent::state::Settled;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_agent_whose_new_server_does_not_welcome_it_goes_back_to_the_old_one() {
    let (old, new) = (Fabric::new(), Fabric::new());
    let (home, silent) = (Control::start(&old).await, Control::start(&new).await);
    let place = moving(&old, &home, &new, &silent);
    let before = place.folder().device().unwrap().principal;
    assert!(matches!(place.folder().settle().unwrap(), Settled::OnTrial(_)));
    assert_ne!(place.folder().device().unwrap().principal, before);
    // The trial is nearly over.
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2;
    std::fs::write(place.folder().path().join("trial"), soon.to_string()).unwrap();
    let agent = Agent::open(&place.config()).unwrap();
    let ended = tokio::spawn(agent.run(CancellationToken::new()));
    // It says HELLO, and nobody answers.
    let asked = silent.hello().await;
    asked.vanish().await;
    assert!(matches!(ended.await.unwrap(), Err(AgentError::WentBack)));
    assert_eq!(place.folder().device().unwrap().principal, before);
    let _agent = tokio::spawn(Agent::open(&place.config()).unwrap().run(CancellationToken::new()));
    home.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn a_welcome_ends_the_trial() {
    let (old, new) = (Fabric::new(), Fabric::new());
    let (home, next) = (Control::start(&old).await, Control::start(&new).await);
    let place = moving(&old, &home, &new, &next);
    let _agent = tokio::spawn(Agent::open(&place.config()).unwrap().run(CancellationToken::new()));
    next.welcome(10).await.heartbeat().await;
    assert_eq!(place.folder().settle().unwrap(), Settled::Kept);
    assert!(!place.folder().path().join("previous").exists());
    assert_eq!(place.folder().device().unwrap().principal.fabric, new.trust().fabric());
}

#[tokio::test]
async fn a_server_that_bans_a_device_on_trial_has_it_go_back() {
    let (old, new) = (Fabric::new(), Fabric::new());
    let (home, next) = (Control::start(&old).await, Control::start(&new).await);
    let place = moving(&old, &home, &new, &next);
    let ended = tokio::spawn(Agent::open(&place.config()).unwrap().run(CancellationToken::new()));
    next.hello().await.go_away(0, true).await;
    assert!(matches!(ended.await.unwrap(), Err(AgentError::WentBack)));
    assert_eq!(place.folder().device().unwrap().principal.fabric, old.trust().fabric());
}

/// A device of one fabric that is to go to another.
fn moving(old: &Fabric, home: &Control, new: &Fabric, next: &Control) -> Place {
    let (place, staged) = (old.device(1, &[home.port()]), new.device(1, &[next.port()]));
    place.folder().next().copy_from(&staged.folder()).unwrap();
    place
}
