//! Renewal of a device's certificate, against servers on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fabric::api::{Answer, Api, refusal};
use fabric::control::Control;
use fabric::{DAY, Fabric, Place, Running, SOON};
use klnet_agent::status::Status;
use klnet_wire::identity::Principal;
use klnet_wire::identity::authority::AGENT_LIFE;
use klnet_wire::net::renew::RENEW;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn a_certificate_past_two_thirds_of_its_life_is_renewed_and_used_at_once() {
    let (fabric, control) = site().await;
    let (api, asked) = renewing(&fabric).await;
    let place = aged(&fabric, &api, &control, 70 * DAY);
    let before = serial(&place);
    let _agent = Running::start(&place);
    let old = control.welcome(10).await;
    let new = control.welcome(10).await;
    assert_eq!(old.hello.boot_id, new.hello.boot_id, "one process, two sessions");
    assert_ne!(serial(&place), before);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_young_certificate_is_left_alone() {
    let (fabric, control) = site().await;
    let (api, asked) = renewing(&fabric).await;
    let place = aged(&fabric, &api, &control, 50 * DAY);
    let _agent = Running::start(&place);
    control.welcome(10).await.heartbeat().await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_device_from_the_drawer_renews_before_it_connects() {
    let (fabric, control) = site().await;
    let (api, _) = renewing(&fabric).await;
    let place = aged(&fabric, &api, &control, AGENT_LIFE + 179 * DAY);
    let _agent = Running::start(&place);
    // The server lets no expired certificate through, so this is the new one.
    control.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn a_refused_renewal_is_told_and_leaves_the_old_certificate_in_use() {
    let (fabric, control) = site().await;
    let api = Api::start(&fabric, Box::new(|_, _| (403, refusal("this device was revoked")))).await;
    let place = aged(&fabric, &api, &control, 70 * DAY);
    let before = serial(&place);
    let _agent = Running::start(&place);
    control.welcome(10).await.heartbeat().await;
    assert_eq!(serial(&place), before);
    let expired = aged(&fabric, &api, &control, AGENT_LIFE + DAY);
    let _other = Running::start(&expired);
    until(|| {
        let error = Status::read(&expired.folder()).and_then(|status| status.last_error);
        error.is_some_and(|error| {
            error.text.contains("certificate out of date, not the clock")
                && error.text.contains("was revoked")
        })
    })
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_device_is_not_taken() {
    let (fabric, control) = site().await;
    let answer: Answer = {
        let fabric = fabric.clone();
        Box::new(move |_, body| {
            let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
            let stolen =
                serde_json::json!({ "token": "", "request": asked["request"], "host_name": "", "os": "" });
            let reply = fabric.enroll(stolen.to_string().as_bytes(), &fabric.servers(1, &[]));
            (200, serde_json::to_string(&reply).unwrap())
        })
    };
    let api = Api::start(&fabric, answer).await;
    let place = aged(&fabric, &api, &control, 70 * DAY);
    let before = serial(&place);
    let _agent = Running::start(&place);
    control.welcome(10).await.heartbeat().await;
    assert_eq!(serial(&place), before);
}

#[tokio::test]
async fn a_key_whose_enrolment_got_no_answer_is_the_one_that_asks_again() {
    use klnet_agent::enroll::{Invitation, Token, enroll};
    let fabric = Arc::new(Fabric::new());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (seen, issuer) = (requests.clone(), fabric.clone());
    let api = Api::start(
        &fabric,
        Box::new(move |_, body| {
            let asked: klnet_wire::identity::enroll::EnrollRequest = serde_json::from_slice(body).unwrap();
            let key = klnet_wire::identity::authority::request_key(&asked.request_der().unwrap()).unwrap();
            let mut seen = seen.lock().unwrap();
            seen.push(key);
            match seen.len() {
                1 => (502, "lost".to_owned()),
                _ => (200, serde_json::to_string(&issuer.enroll(body, &issuer.servers(1, &[]))).unwrap()),
            }
        }),
    )
    .await;
    let place = Place::new();
    let invitation = || Invitation {
        server: format!("https://127.0.0.1:{}", api.port),
        root: fabric.trust().pin(),
        token: Token("t0ken".into()),
        name: None,
    };
    enroll(&place.folder(), &invitation(), false).await.unwrap_err();
    enroll(&place.folder(), &invitation(), false).await.unwrap();
    enroll(&place.folder(), &invitation(), true).await.unwrap();
    let keys = requests.lock().unwrap();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2], "another enrolment has a key of its own");
}

async fn site() -> (Arc<Fabric>, Control) {
    // Older than the certificates of these tests.
    let fabric = Arc::new(Fabric::made_at(SystemTime::now() - 400 * DAY));
    let control = Control::start(&fabric).await;
    (fabric, control)
}

/// An API that renews, and how often it was asked.
async fn renewing(fabric: &Arc<Fabric>) -> (Api, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (issuer, count) = (fabric.clone(), asked.clone());
    let answer: Answer = Box::new(move |path, body| match path {
        RENEW => {
            count.fetch_add(1, Ordering::Relaxed);
            (200, serde_json::to_string(&issuer.renew(body, &issuer.servers(1, &[]))).unwrap())
        }
        _ => (200, String::new()),
    });
    (Api::start(fabric, answer).await, asked)
}

/// A device that was enrolled so long ago.
fn aged(fabric: &Fabric, api: &Api, control: &Control, age: Duration) -> Place {
    fabric.device_from(api.port, &fabric.servers(1, &[control.port()]), SystemTime::now() - age)
}

fn serial(place: &Place) -> Vec<u8> {
    let device = place.folder().device().unwrap();
    Principal::named_in(&device.identity.chain[0]).unwrap().serial
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.expect("it comes about");
}
