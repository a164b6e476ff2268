use std::time::SystemTime;

use super::*;
use crate::id::TenantId;
use crate::identity::authority::{AGENT_LIFE, Authority, Leaf, make_next_root, make_root, request};
use crate::signing::SigningKey;

#[test]
fn a_leaf_passes_for_its_own_role_only() {
    let authority = authority();
    for role in Role::ALL {
        let chain = issue(&authority, role, SystemTime::now());
        for accepted in Role::ALL {
            let verified = authority.trust().verify(&chain, &[accepted], UnixTime::now());
            match role == accepted {
                true => assert_eq!(verified.unwrap().role, role),
                false => assert_eq!(verified, Err(ChainError::WrongRole { is: role })),
            }
        }
    }
}

#[test]
fn a_leaf_of_another_fabric_does_not_pass() {
    let (ours, theirs) = (authority(), authority());
    let chain = issue(&theirs, Role::Agent, SystemTime::now());
    let verified = ours.trust().verify(&chain, &[Role::Agent], UnixTime::now());
    assert_eq!(verified, Err(ChainError::OtherFabric));
}

#[test]
fn a_leaf_that_only_claims_our_fabric_does_not_pass() {
    let (ours, theirs) = (authority(), authority());
    let mut leaf = leaf(&theirs, Role::Agent, SystemTime::now());
    leaf.principal.fabric = ours.trust().fabric();
    let chain = theirs.issue(SigningKey::generate_p256().public(), &leaf).unwrap();
    let verified = ours.trust().verify(&chain, &[Role::Agent], UnixTime::now());
    assert!(matches!(verified, Err(ChainError::NotIssued(_))), "{verified:?}");
}

#[test]
fn a_leaf_cannot_issue_certificates() {
    let authority = authority();
    let (key, mallory) = (SigningKey::generate_p256(), SigningKey::generate_p256());
    let agent = authority.issue(key.public(), &leaf(&authority, Role::Agent, SystemTime::now())).unwrap();
    let forger = Authority::restore(authority.trust().clone(), agent[0].clone(), key);
    let forged =
        forger.issue(mallory.public(), &leaf(&authority, Role::Operator, SystemTime::now())).unwrap();
    let chain = [&forged[..1], &agent[..]].concat();
    let verified = authority.trust().verify(&chain, &[Role::Operator], UnixTime::now());
    assert!(matches!(verified, Err(ChainError::NotIssued(_) | ChainError::Malformed)), "{verified:?}");
}

#[test]
fn a_wrong_clock_is_told_apart_from_a_wrong_certificate() {
    let authority = authority();
    let old = issue(&authority, Role::Agent, SystemTime::now() - AGENT_LIFE - Duration::from_secs(86_400));
    let verified = authority.trust().verify(&old, &[Role::Agent], UnixTime::now());
    assert!(matches!(verified, Err(ChainError::Expired(_))), "{verified:?}");
    let chain = issue(&authority, Role::Agent, SystemTime::now());
    let past = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000));
    let verified = authority.trust().verify(&chain, &[Role::Agent], past);
    assert!(matches!(verified, Err(ChainError::NotYetValid(_))), "{verified:?}");
}

#[test]
fn a_pin_finds_exactly_its_root() {
    let (ours, theirs) = (authority(), authority());
    let chain = issue(&ours, Role::Server, SystemTime::now());
    assert_eq!(Trust::pinned(&ours.trust().pin(), &chain).as_ref(), Ok(ours.trust()));
    assert_eq!(Trust::pinned(&theirs.trust().pin(), &chain), Err(ChainError::NotPinned));
}

#[test]
fn names_in_a_request_are_ignored_and_its_key_is_proven() {
    let authority = authority();
    let key = SigningKey::generate_p256();
    let leaf = leaf(&authority, Role::Agent, SystemTime::now());
    let request = request(&key).unwrap();
    let (chain, public) = authority.issue_to_request(&request, &leaf).unwrap();
    assert_eq!((&public, public_key_of(&chain[0]).as_ref()), (key.public(), Ok(key.public())));
    assert_eq!(Principal::named_in(&chain[0]), Some(leaf.principal.clone()));
    let mut forged = request;
    *forged.last_mut().unwrap() ^= 1;
    assert!(authority.issue_to_request(&forged, &leaf).is_err());
}

#[test]
fn whoever_knows_any_root_follows_to_the_newest() {
    let (fabric, lineage, _) = rotated(3);
    for (known, trust) in fabric.iter().enumerate() {
        let reached = trust.follow(&lineage);
        match known {
            3 => assert_eq!(reached, None, "there is nothing newer"),
            _ => {
                let reached = reached.unwrap();
                assert_eq!((reached.version(), reached.fabric()), (3, fabric[0].fabric()));
                assert_eq!(reached.roots()[..], [fabric[3].root().clone(), fabric[2].root().clone()]);
                assert_eq!(reached.follow(&lineage), None);
            }
        }
    }
}

#[test]
fn a_lineage_that_was_cut_altered_or_made_by_others_leads_nowhere() {
    let (ours, whole, _) = rotated(3);
    let (_, theirs, _) = rotated(3);
    assert_eq!(ours[0].follow(&theirs), None);
    let gap = Lineage { sets: whole.sets[1..].to_vec() };
    assert_eq!(ours[0].follow(&gap), None, "the first step is missing");
    let backwards = Lineage { sets: whole.sets.iter().rev().cloned().collect() };
    assert_eq!(ours[0].follow(&backwards).unwrap().version(), 1);
    let mut altered = whole.clone();
    altered.sets[0].bytes = altered.sets[1].bytes.clone();
    assert_eq!(ours[0].follow(&altered), None);
}

#[test]
fn a_root_that_was_retired_signs_nothing_more() {
    let (fabric, lineage, keys) = rotated(2);
    let newest = fabric[0].follow(&lineage).unwrap();
    let forged = set(3, fabric[0].fabric(), &[fabric[0].root()]);
    let by_retired = keys[0].sign(Context::TrustSet, forged);
    assert_eq!(newest.follow(&Lineage { sets: vec![by_retired] }), None);
}

/// The roots of a fabric that was rotated so often, each as if pinned; the lineage; and the roots' keys.
fn rotated(times: u64) -> (Vec<Trust>, Lineage, Vec<SigningKey>) {
    let keys: Vec<_> = (0..=times).map(|_| SigningKey::generate_p256()).collect();
    let first = make_root(&keys[0], SystemTime::now()).unwrap();
    let (mut trusts, mut lineage) = (vec![first.clone()], Lineage::default());
    for version in 1..=times {
        let place = usize::try_from(version).unwrap();
        let next = make_next_root(&keys[place], first.fabric(), SystemTime::now()).unwrap();
        let roots = set(version, first.fabric(), &[next.root(), trusts[place - 1].root()]);
        lineage.sets.push(keys[place - 1].sign(Context::TrustSet, roots));
        trusts.push(next);
    }
    (trusts, lineage, keys)
}

fn set(version: u64, fabric: FabricId, roots: &[&CertificateDer<'static>]) -> Bytes {
    let roots = roots.iter().map(|root| Bytes::copy_from_slice(root)).collect();
    TrustSet { fabric: fabric.to_vec().into(), version, roots }.encode_to_vec().into()
}

fn authority() -> Authority {
    let root_key = SigningKey::generate_p256();
    let trust = make_root(&root_key, SystemTime::now()).unwrap();
    Authority::make(trust, &root_key, SigningKey::generate_p256(), SystemTime::now()).unwrap()
}

fn issue(authority: &Authority, role: Role, now: SystemTime) -> Vec<CertificateDer<'static>> {
    authority.issue(SigningKey::generate_p256().public(), &leaf(authority, role, now)).unwrap()
}

fn leaf(authority: &Authority, role: Role, now: SystemTime) -> Leaf {
    let (fabric, tenant) = (authority.trust().fabric(), TenantId::random());
    let principal = Principal { fabric, tenant, role, id: [7; 16], serial: Vec::new() };
    Leaf::new(principal, Vec::new(), now, AGENT_LIFE)
}
