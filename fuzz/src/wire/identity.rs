//! Certificates, requests, enrolment replies and key files.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use klnet_wire::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use klnet_wire::identity::beacon::{BEACON_WINDOW, Beacon, EVERY_MAX, EVERY_MIN, NAME_LIMIT};
use klnet_wire::identity::crl::{Crl, Crls};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest, parse_pin, print_pin, unix};
use klnet_wire::identity::pem::{chain_from_pem, chain_to_pem, key_from_pem, key_to_pem};
use klnet_wire::identity::renew::RenewRequest;
use klnet_wire::identity::trust::{Validity, p256_from_spki, p256_spki, public_key_of};
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::lineage::Lineage;
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use prost::Message as _;
use rustls_pki_types::CertificateDer;

use crate::fixed::{TENANT, now};
use crate::script::Script;

/// An authority whose keys differ in each run: for what does not depend on them.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let root_key = SigningKey::generate_p256();
    let trust = make_root(&root_key, now()).expect("a root can be made");
    Authority::make(trust, &root_key, SigningKey::generate_p256(), now()).expect("an authority can be made")
});

/// A chain, each certificate with its length in front and the root last, passes for its own role, fabric and key.
pub fn certificate(data: &[u8]) {
    assert!(
        Crl::verify(data, [AUTHORITY.key().public().clone()]).is_err(),
        "the authority signs no such list"
    );
    let _ = Lineage::decode(data).map(|lineage| assert_eq!(AUTHORITY.trust().follow(&lineage), None));
    let mut script = Script::new(data);
    let role = Role::ALL[usize::from(script.byte() % 3)];
    let mut chain = Vec::new();
    while !script.rest().is_empty() && chain.len() < CHAIN_MOST {
        chain.push(CertificateDer::from(script.bytes(u16::MAX).to_vec()));
    }
    for certificate in &chain {
        let _ = (Principal::named_in(certificate), public_key_of(certificate), Validity::of(certificate));
    }
    let Some(root) = chain.last().cloned() else { return };
    let Ok(trust) = Trust::new(root) else { return };
    let _ = trust.root_keys();
    let Ok(principal) = trust.verify(&chain, &[role], unix(now())) else { return };
    assert_eq!((principal.role, principal.fabric), (role, trust.fabric()));
    assert_eq!(Principal::named_in(&chain[0]).as_ref(), Some(&principal));
    let later = now() + Duration::from_secs(100 * 365 * 86_400);
    assert!(trust.verify(&chain, &[role], unix(later)).is_err(), "no certificate is valid for a century");
    for other in Role::ALL.into_iter().filter(|other| *other != role) {
        assert!(trust.verify(&chain, &[other], unix(now())).is_err(), "a certificate has one role");
    }
}

/// A root, with its length in front, and a beacon: nothing of it is taken but what was looked at, and nobody is believed
/// of whose authority no list is known.
pub fn beacon(data: &[u8]) {
    let mut script = Script::new(data);
    let Ok(trust) = Trust::new(CertificateDer::from(script.bytes(u16::MAX).to_vec())) else { return };
    let (fabric, time, from) = (trust.fabric(), unix(now()), IpAddr::from([10, 0, 0, 7]));
    let own = Principal { fabric, tenant: TENANT, role: Role::Agent, id: [0; 16], serial: Vec::new() };
    let Ok(opened) = Beacon::open(script.rest(), &own, from, time) else { return };
    let presence = &opened.presence;
    assert_eq!(presence.address, from);
    assert!(presence.sent.abs_diff(time.as_secs()) <= BEACON_WINDOW.as_secs());
    assert!(presence.name.len() <= NAME_LIMIT && (EVERY_MIN..=EVERY_MAX).contains(&presence.every));
    assert!(opened.verify(&trust, &Crls::default(), time).is_err());
}

/// A request that is taken is answered with a certificate for its key and the names of the authority's choice.
pub fn request(data: &[u8]) {
    let principal = Principal {
        fabric: AUTHORITY.trust().fabric(),
        tenant: TENANT,
        role: Role::Agent,
        id: [1; 16],
        serial: Vec::new(),
    };
    let leaf = Leaf::new(principal, Vec::new(), now(), AGENT_LIFE);
    let Ok((chain, key)) = AUTHORITY.issue_to_request(data, &leaf) else { return };
    assert_eq!(public_key_of(&chain[0]), Ok(key));
    let verified = AUTHORITY.trust().verify(&chain, &[Role::Agent], unix(now()));
    assert_eq!(verified, Ok(leaf.principal));
}

/// An enrolment reply, a request or a renewal in JSON never passes without the pinned root.
pub fn enrollment(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<EnrollRequest>(data) {
        let _ = request.request_der().map(|der| self::request(&der));
    }
    if let Ok(renewal) = serde_json::from_slice::<RenewRequest>(data) {
        let _ = renewal.request_der().map(|der| self::request(&der));
        assert!(
            renewal.holder(AUTHORITY.trust(), unix(now())).is_err(),
            "nobody is renewed whom nobody enrolled"
        );
    }
    let Ok(reply) = serde_json::from_slice::<EnrollReply>(data) else { return };
    let key = PublicKey::P256([4; 65]);
    assert!(reply.verify(&AUTHORITY.trust().pin(), &key, Role::Agent, now()).is_err());
}

/// Key files, public keys and pins are read or refused, and what was read is written the same.
pub fn pem(data: &[u8]) {
    if let Ok(key) = SigningKey::from_pkcs8(data) {
        assert_eq!(key.to_pkcs8().expect("it is held here")[..], *data);
    }
    if let Ok(PublicKey::P256(point)) = p256_from_spki(data) {
        assert_eq!(p256_spki(&point), data);
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(chain) = chain_from_pem(text) {
        assert_eq!(chain_from_pem(&chain_to_pem(&chain)), Some(chain));
    }
    if let Some(key) = key_from_pem(text) {
        let again = key_from_pem(&key_to_pem(&key)).expect("our own file");
        assert_eq!(again.public(), key.public());
    }
    if let Some(pin) = parse_pin(text) {
        assert_eq!(print_pin(&pin), text.to_ascii_lowercase());
    }
    let _ = text.parse::<Role>();
}

/// Certificates of a chain that are looked at: one more than any chain may have.
const CHAIN_MOST: usize = 5;
