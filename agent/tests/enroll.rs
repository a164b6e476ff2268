//! Enrolment against an HTTPS server on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::sync::{Arc, Mutex};

use fabric::api::{Answer, Api, refusal};
use fabric::{Fabric, Place};
use klnet_agent::agent::Agent;
use klnet_agent::enroll::{EnrollError, Invitation, PATH, Token, enroll};
use klnet_agent::state::StateError;
use klnet_wire::identity::ChainError;
use klnet_wire::identity::enroll::EnrollError as ReplyError;
use klnet_wire::identity::trust::Pin;
use klnet_wire::net::dial::DialError;
use klnet_wire::net::https::ApiError;

#[tokio::test]
async fn a_device_is_enrolled_and_can_start_at_once() {
    let fabric = Arc::new(Fabric::new());
    let api = Api::start(&fabric, enrolling(&fabric)).await;
    let place = Place::new();
    let device = enroll(&place.folder(), &invitation(&api, fabric.trust().pin()), false).await.unwrap();
    let stored = place.folder().device().unwrap();
    assert_eq!((&stored.principal, stored.principal.tenant), (&device.principal, fabric.tenant));
    assert_eq!(stored.identity.key.public(), device.identity.key.public());
    assert_eq!(place.folder().directory(&stored).unwrap().key_version(), 1);
    assert!(Agent::open(&place.config()).is_ok());
}

#[tokio::test]
async fn a_server_without_the_pinned_root_is_told_nothing() {
    let (fabric, other) = (Arc::new(Fabric::new()), Fabric::new());
    let asked = Arc::new(Mutex::new(0));
    let (count, answer) = (asked.clone(), enrolling(&fabric));
    let counting: Answer = Box::new(move |path, body| {
        *count.lock().unwrap() += 1;
        answer(path, body)
    });
    let api = Api::start(&fabric, counting).await;
    let place = Place::new();
    let error = enroll(&place.folder(), &invitation(&api, other.trust().pin()), false).await.unwrap_err();
    let refused = matches!(
        &error,
        EnrollError::Api(ApiError::Dial(DialError::Certificate { error: ChainError::NotPinned, .. }))
    );
    assert!(refused, "{error}");
    assert_eq!(*asked.lock().unwrap(), 0, "the token was not sent");
    assert!(matches!(place.folder().device(), Err(StateError::NotEnrolled(_))));
}

#[tokio::test]
async fn a_certificate_for_another_key_is_not_stored() {
    let fabric = Arc::new(Fabric::new());
    let issuer = fabric.clone();
    let api = Api::start(
        &fabric,
        Box::new(move |_, body| {
            let theirs =
                klnet_wire::identity::authority::request(&klnet_wire::signing::SigningKey::generate_p256());
            let mut asked: serde_json::Value = serde_json::from_slice(body).unwrap();
            asked["request"] = data_encoding::BASE64URL_NOPAD.encode(&theirs.unwrap()).into();
            let reply = issuer.enroll(asked.to_string().as_bytes(), &issuer.servers(1, &[]));
            (200, serde_json::to_string(&reply).unwrap())
        }),
    )
    .await;
    let place = Place::new();
    let error = enroll(&place.folder(), &invitation(&api, fabric.trust().pin()), false).await.unwrap_err();
    assert!(matches!(error, EnrollError::Reply(ReplyError::OtherKey)), "{error}");
    assert!(!place.folder().is_enrolled());
}

#[tokio::test]
async fn a_used_token_is_refused_in_the_servers_words_and_the_old_identity_stays() {
    let fabric = Arc::new(Fabric::new());
    let api = Api::start(&fabric, Box::new(|_, _| (403, refusal("the token has been used")))).await;
    let place = fabric.device(api.port, &[]);
    let before = place.folder().device().unwrap();
    let error = enroll(&place.folder(), &invitation(&api, fabric.trust().pin()), true).await.unwrap_err();
    assert_eq!(error.to_string(), "the token has been used");
    assert_eq!(place.folder().device().unwrap().principal, before.principal);
}

#[tokio::test]
async fn an_identity_is_replaced_only_by_force() {
    let fabric = Arc::new(Fabric::new());
    let api = Api::start(&fabric, enrolling(&fabric)).await;
    let place = fabric.device(api.port, &[]);
    let before = place.folder().device().unwrap().principal;
    let invitation = invitation(&api, fabric.trust().pin());
    let error = enroll(&place.folder(), &invitation, false).await.unwrap_err();
    assert!(matches!(error, EnrollError::Enrolled { .. }), "{error}");
    enroll(&place.folder(), &invitation, true).await.unwrap();
    assert_ne!(place.folder().device().unwrap().principal.id, before.id);
}

#[tokio::test]
async fn a_folder_in_use_is_not_enrolled_over() {
    let fabric = Arc::new(Fabric::new());
    let api = Api::start(&fabric, enrolling(&fabric)).await;
    let place = fabric.device(api.port, &[]);
    let _agent = Agent::open(&place.config()).unwrap();
    let error = enroll(&place.folder(), &invitation(&api, fabric.trust().pin()), true).await.unwrap_err();
    assert!(matches!(error, EnrollError::State(StateError::Locked { .. })), "{error}");
}

#[test]
fn a_token_never_prints_itself() {
    let invitation =
        Invitation { server: "x".into(), root: [0; 32], token: Token("secret".into()), name: None };
    assert!(!format!("{invitation:?}").contains("secret"));
}

fn enrolling(fabric: &Arc<Fabric>) -> Answer {
    let fabric = fabric.clone();
    Box::new(move |path, body| {
        assert_eq!(path, PATH);
        (200, serde_json::to_string(&fabric.enroll(body, &fabric.servers(1, &[23100]))).unwrap())
    })
}

fn invitation(api: &Api, root: Pin) -> Invitation {
    let server = format!("https://127.0.0.1:{}", api.port);
    Invitation { server, root, token: Token("t0ken".into()), name: Some("pc-7".into()) }
}
