//! Revocation of a server's certificate, as an agent takes it, against servers on loopback.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fabric;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use fabric::api::{Answer, Api};
use fabric::control::Control;
use fabric::{DAY, Fabric, Place, Running, SOON};
use klnet_agent::discovery;
use klnet_agent::status::Status;
use klnet_wire::identity::crl::{Crl, Crls};
use klnet_wire::identity::enroll::encode_signed;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role};
use klnet_wire::message::{Lists, Message};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn an_agent_takes_the_list_from_discovery_and_never_greets_a_revoked_server() {
    let site = Site::start().await;
    let stolen = site.fabric.identity(Role::Server);
    let (thief, honest) =
        (Control::start_as(&site.fabric, &stolen).await, Control::start(&site.fabric).await);
    site.publish(2, &[&stolen], Duration::ZERO);
    let place = site.device(&[thief.port()]);
    let _agent = Running::start(&place);
    assert!(thief.handshake().await.is_err(), "the agent leaves before a word");
    told(&place, "the certificate was revoked").await;
    let place = site.device(&[honest.port()]);
    let _other = Running::start(&place);
    honest.welcome(10).await.heartbeat().await;
}

#[tokio::test]
async fn an_agent_that_slept_for_months_with_an_old_list_fetches_the_next_and_comes_back() {
    let site = Site::start().await;
    let control = Control::start(&site.fabric).await;
    let place = site.device(&[control.port()]);
    // Its list ended long ago.
    let old = site.list(1, &[], 200 * DAY);
    place.folder().save_crls(&kept(&site.fabric, &old)).unwrap();
    site.publish(2, &[], Duration::ZERO);
    let _agent = Running::start(&place);
    control.welcome(10).await.heartbeat().await;
    let stored = place.folder().crls(&site.fabric.issuers()).all();
    assert_eq!(stored.iter().map(|crl| crl.number()).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_list_past_its_time_that_nobody_replaces_keeps_the_agent_away_and_says_so() {
    let site = Site::start().await;
    let control = Control::start(&site.fabric).await;
    site.publish(1, &[], 200 * DAY);
    let place = site.device(&[control.port()]);
    let _agent = Running::start(&place);
    assert!(control.handshake().await.is_err());
    told(&place, "the revocation list of the certificate's issuer is out of date").await;
}

#[tokio::test]
async fn an_older_list_is_refused_also_after_a_restart() {
    let site = Site::start().await;
    let stolen = site.fabric.identity(Role::Server);
    let thief = Control::start_as(&site.fabric, &stolen).await;
    let place = site.device(&[thief.port()]);
    place.folder().save_crls(&kept(&site.fabric, &site.list(5, &[&stolen], Duration::ZERO))).unwrap();
    site.publish(4, &[], Duration::ZERO);
    let _agent = Running::start(&place);
    assert!(thief.handshake().await.is_err());
    told(&place, "the certificate was revoked").await;
}

#[tokio::test]
async fn an_agent_that_is_told_of_a_newer_list_fetches_it_while_it_is_connected() {
    let site = Site::start().await;
    let control = Control::start(&site.fabric).await;
    site.publish(1, &[], Duration::ZERO);
    let place = site.device(&[control.port()]);
    let _agent = Running::start(&place);
    let peer = control.welcome(10).await;
    for number in [2, 3] {
        site.publish(number, &[], Duration::ZERO);
        peer.send(Message::Lists(Lists { number, within_ms: 1 })).await;
        let stored =
            || place.folder().crls(&site.fabric.issuers()).all().iter().any(|crl| crl.number() == number);
        let waiting = async {
            while !stored() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, waiting).await.expect("it asks for the list and stores it");
    }
}

/// A fabric with an authority in its key set, and a discovery service.
struct Site {
    fabric: Arc<Fabric>,
    api: Api,
    published: Arc<Mutex<Vec<u8>>>,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Site {
    async fn start() -> Self {
        let fabric = Arc::new(Fabric::made_at(SystemTime::now() - 400 * DAY));
        let (published, ports) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (signer, list, known) = (fabric.clone(), published.clone(), ports.clone());
        let answer: Answer = Box::new(move |path, _| {
            assert_eq!(path, discovery::PATH);
            let (keys, servers) = (signer.keys_with_issuer(2), signer.servers(2, &known.lock().unwrap()));
            let (keys, servers) = (encode_signed(&keys), encode_signed(&servers));
            let crls = [BASE64URL_NOPAD.encode(&list.lock().unwrap())];
            (200, serde_json::json!({ "keys": keys, "servers": servers, "crls": crls }).to_string())
        });
        let api = Api::start(&fabric, answer).await;
        Self { fabric, api, published, ports }
    }

    /// A device that was enrolled before there were lists, and knows these control ports.
    fn device(&self, ports: &[u16]) -> Place {
        *self.ports.lock().unwrap() = ports.to_vec();
        let place = self.fabric.device(self.api.port, ports);
        place.folder().save_keys(&self.fabric.keys_with_issuer(2)).unwrap();
        place
    }

    fn publish(&self, number: u64, revoked: &[&Identity], age: Duration) {
        *self.published.lock().unwrap() = self.list(number, revoked, age);
    }

    /// A list of this age, good for a day.
    fn list(&self, number: u64, revoked: &[&Identity], age: Duration) -> Vec<u8> {
        let serial = |identity: &&Identity| (Principal::named_in(&identity.chain[0]).unwrap().serial, 1);
        let revoked: Vec<_> = revoked.iter().map(serial).collect();
        self.fabric.authority.revoke(number, &revoked, SystemTime::now() - age, DAY).unwrap()
    }
}

fn kept(fabric: &Fabric, list: &[u8]) -> Crls {
    let crls = Crls::default();
    let _ = crls.take(Crl::verify(list, fabric.issuers()).unwrap()).unwrap();
    crls
}

/// Waits until the agent says so.
async fn told(place: &Place, words: &str) {
    let waiting = async {
        let error = || Status::read(&place.folder()).and_then(|status| status.last_error);
        while !error().is_some_and(|error| error.text.contains(words)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{:?}", Status::read(&place.folder())));
}
