use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::id::OperatorId;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::renew::RenewRequest;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::message::Hello;
use klnet_wire::signing::SigningKey;
use prost::Message;
use tempfile::TempDir;

use super::sync::Synced;
use super::*;
use crate::directory::Announced;
use crate::invitation::Invitation;
use crate::store::{Op, OpId, SqliteStore};

#[tokio::test]
async fn a_device_enrols_with_a_token_and_is_known_by_its_certificate() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let root = groups::root(admin.tenant);
    let (_, secret) = fleet.add_token(&admin, root, 1, HOUR).await.unwrap();
    let principal = enrol(&fleet, &secret).await.unwrap();
    let device = fleet.device_of(&principal).unwrap();
    assert_eq!((device.name.as_str(), device.group), ("pc-1", root));
    assert_eq!(fleet.tokens(admin.tenant), []);
}

#[tokio::test]
async fn whoever_asks_again_with_the_same_token_and_key_is_the_same_device() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let (_, secret) = fleet.add_token(&admin, groups::root(admin.tenant), 1, HOUR).await.unwrap();
    let (asked, _) = asked(secret.clone());
    let lost = fleet.enroll(asked.clone(), from()).await.unwrap();
    let again = fleet.enroll(asked.clone(), from()).await.unwrap();
    assert_eq!((lost.chain == again.chain, fleet.devices(admin.tenant).len()), (true, 1));
    assert_eq!(enrol(&fleet, &secret).await.unwrap_err().kind(), Kind::Denied, "another key, another device");
    fleet.certificate_used(&holder(&again)).await.unwrap();
    assert_eq!(fleet.enroll(asked, from()).await.unwrap_err().kind(), Kind::Denied, "the answer has arrived");
}

#[tokio::test]
async fn a_renewal_whose_answer_is_lost_is_repeated_and_the_old_certificate_good_until_then() {
    let (fleet, _folder) = fleet().await;
    let old = enrolled_device(&fleet).await;
    fleet.certificate_used(&named(&old)).await.unwrap();
    let lost = renew(&fleet, &old).await.unwrap();
    let again = renew(&fleet, &old).await.unwrap();
    assert_eq!(lost.chain, again.chain, "one certificate, however often it is asked for");
    fleet.device_of(&named(&old)).unwrap();
    fleet.device_of(&named(&again)).unwrap();
    fleet.certificate_used(&named(&again)).await.unwrap();
    assert_eq!(fleet.device_of(&named(&old)).unwrap_err().kind(), Kind::Superseded);
    assert_eq!(renew(&fleet, &old).await.unwrap_err().kind(), Kind::Superseded);
    assert_ne!(renew(&fleet, &again).await.unwrap().chain, again.chain);
}

#[tokio::test]
async fn a_certificate_that_was_never_used_can_be_renewed_too() {
    let (fleet, _folder) = fleet().await;
    let enrolled = enrolled_device(&fleet).await;
    let next = renew(&fleet, &enrolled).await.unwrap();
    let last = renew(&fleet, &next).await.unwrap();
    assert_eq!(renew(&fleet, &enrolled).await.unwrap_err().kind(), Kind::Superseded);
    assert_eq!(fleet.device_of(&named(&last)).unwrap().id, named(&enrolled).id());
}

#[tokio::test]
async fn only_the_enrolled_key_renews_and_nobody_who_was_revoked() {
    let (fleet, _folder) = fleet().await;
    let device = enrolled_device(&fleet).await;
    let mut foreign = RenewRequest::new(&device).unwrap();
    foreign.request = BASE64URL_NOPAD.encode(&request(&SigningKey::generate_p256()).unwrap());
    assert_eq!(fleet.renew(&foreign, from()).await.unwrap_err().kind(), Kind::Denied);
    let by = fleet.caller(&named(&administrator(&fleet).await)).unwrap();
    fleet.revoke_device(&by, named(&device).id(), "stolen").await.unwrap();
    assert_eq!(renew(&fleet, &device).await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn an_operators_last_two_certificates_are_good() {
    let (fleet, _folder) = fleet().await;
    let first = administrator(&fleet).await;
    let second = renew(&fleet, &first).await.unwrap();
    assert_eq!(renew(&fleet, &first).await.unwrap().chain, second.chain);
    let third = renew(&fleet, &second).await.unwrap();
    assert_eq!(fleet.caller(&named(&first)).unwrap_err().kind(), Kind::Superseded);
    for good in [&second, &third] {
        assert_eq!(fleet.caller(&named(good)).unwrap().name, "admin");
    }
}

/// Each is a device's part of it: what it trusts, and its certificate.
#[tokio::test]
async fn of_200_devices_of_which_a_fifth_sleeps_through_each_of_three_rotations_none_is_lost() {
    let (mut fleet, folder) = fleet().await;
    let mut devices = Vec::new();
    for _ in 0..200 {
        let identity = enrolled_device(&fleet).await;
        fleet.certificate_used(&named(&identity)).await.unwrap();
        devices.push((fleet.fabric.trust().clone(), identity));
    }
    for rotation in 0..3 {
        let root_key = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
        let root_key = klnet_wire::identity::pem::key_from_pem(&root_key).unwrap();
        let fabric = Arc::new(Fabric::rotate(folder.path(), &root_key, SystemTime::now()).unwrap());
        let announced = fleet.directory.announced().clone();
        let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::default(), announced));
        fleet = Fleet::load(Arc::clone(&fleet.store), fabric, directory).await.unwrap();
        for (number, device) in devices.iter_mut().enumerate() {
            // Some sleep once, some twice, and some through all of it.
            if number % 5 != rotation && number % 25 != 3 {
                wake(&fleet, device).await;
            }
        }
    }
    for device in &mut devices {
        wake(&fleet, device).await;
    }
    assert_eq!(fleet.devices(fleet.fabric.tenant()).len(), 200, "nobody enrolled twice");
}

/// A device comes back: it follows the roots when the server's is unknown to it, and renews what no root vouches for.
async fn wake(fleet: &Arc<Fleet>, (trust, identity): &mut (Trust, Identity)) {
    let now = klnet_wire::identity::enroll::unix(SystemTime::now());
    let server = fleet.fabric.server_identity(&["localhost".into()], SystemTime::now()).unwrap();
    if trust.verify(&server.chain, &[Role::Server], now).is_err() {
        *trust = trust.follow(fleet.fabric.lineage()).expect("the lineage leads there");
        trust.verify(&server.chain, &[Role::Server], now).unwrap();
    }
    if trust.verify(&identity.chain, &[Role::Agent], now).is_err() {
        *identity = renew(fleet, identity).await.unwrap();
    }
    let holder = fleet.fabric.trust().verify(&identity.chain, &[Role::Agent], now).unwrap();
    fleet.certificate_used(&holder).await.unwrap();
    fleet.device_of(&holder).unwrap();
}

#[tokio::test]
async fn a_thousand_parallel_redeemers_of_one_token_make_one_device() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let (_, secret) = fleet.add_token(&admin, groups::root(admin.tenant), 1, HOUR).await.unwrap();
    let redeemers: Vec<_> = (0..1000)
        .map(|_| {
            let (fleet, secret) = (Arc::clone(&fleet), secret.clone());
            tokio::spawn(async move { enrol(&fleet, &secret).await.is_ok() })
        })
        .collect();
    let mut enrolled = 0;
    for redeemer in redeemers {
        enrolled += usize::from(redeemer.await.unwrap());
    }
    assert_eq!((enrolled, fleet.devices(admin.tenant).len()), (1, 1));
}

#[tokio::test]
async fn a_token_of_many_uses_is_counted_down_by_parallel_devices() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let (_, secret) = fleet.add_token(&admin, groups::root(admin.tenant), 20, HOUR).await.unwrap();
    let devices: Vec<_> = (0..40)
        .map(|_| {
            let (fleet, secret) = (Arc::clone(&fleet), secret.clone());
            tokio::spawn(async move { enrol(&fleet, &secret).await })
        })
        .collect();
    let mut enrolled = 0;
    for device in devices {
        match device.await.unwrap() {
            Ok(_) => enrolled += 1,
            Err(error) => assert_eq!(error.kind(), Kind::Denied, "{error}"),
        }
    }
    assert_eq!((enrolled, fleet.devices(admin.tenant).len()), (20, 20));
}

#[tokio::test]
async fn an_invitation_makes_one_operator_once() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let roles = [OperatorRole::Tunnel].into_iter().collect();
    let (anna, invitation) = fleet.add_operator(&admin, "anna", roles, HOUR).await.unwrap();
    assert!(anna.invited_until.is_some());
    let principal = log_in(&fleet, &invitation).await.unwrap();
    let caller = fleet.caller(&principal).unwrap();
    assert_eq!((caller.name.as_str(), caller.operator), ("anna", anna.id));
    assert_eq!(log_in(&fleet, &invitation).await.unwrap_err().kind(), Kind::Denied);
    let again = fleet.add_operator(&admin, "anna", [OperatorRole::Rdp].into_iter().collect(), HOUR).await;
    assert_eq!(again.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn an_expired_invitation_or_token_is_worth_nothing() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let roles: Roles = [OperatorRole::Tunnel].into_iter().collect();
    let (operator, invitation) = fleet.add_operator(&admin, "late", roles, HOUR).await.unwrap();
    fleet.revoke_operator(&admin, operator.id, "never came").await.unwrap();
    assert_eq!(log_in(&fleet, &invitation).await.unwrap_err().kind(), Kind::Denied);
    let (token, secret) = fleet.add_token(&admin, groups::root(admin.tenant), 1, HOUR).await.unwrap();
    fleet.remove_token(&admin, &token.id[..8]).await.unwrap();
    assert_eq!(enrol(&fleet, &secret).await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(enrol(&fleet, "AAAA").await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn revoking_is_heard_and_final() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let (_, secret) = fleet.add_token(&admin, groups::root(admin.tenant), 1, HOUR).await.unwrap();
    let principal = enrol(&fleet, &secret).await.unwrap();
    let mut denials = fleet.denials();
    fleet.revoke_device(&admin, principal.id(), "stolen").await.unwrap();
    assert_eq!(denials.recv().await, Ok(Denied::Device(principal.id())));
    assert_eq!(fleet.device_of(&principal).unwrap_err().kind(), Kind::Denied);
    let again = fleet.revoke_device(&admin, principal.id(), "again").await;
    assert_eq!(again.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn a_device_that_was_removed_is_gone_and_comes_back_by_nothing() {
    let (fleet, _folder) = fleet().await;
    let device = enrolled_device(&fleet).await;
    let (id, by) = (named(&device).id(), fleet.caller(&named(&administrator(&fleet).await)).unwrap());
    fleet.certificate_used(&named(&device)).await.unwrap();
    let next = renew(&fleet, &device).await.unwrap();
    let mut denials = fleet.denials();
    fleet.remove_device(&by, id).await.unwrap();
    assert_eq!(denials.recv().await, Ok(Denied::Device(id)));
    assert!(fleet.devices(by.tenant).is_empty() && fleet.is_denied(by.tenant, id));
    assert_eq!(fleet.device(by.tenant, &id.to_string()).unwrap_err().kind(), Kind::NotFound);
    for identity in [&device, &next] {
        assert_eq!(fleet.device_of(&named(identity)).unwrap_err().kind(), Kind::Denied);
        assert_eq!(renew(&fleet, identity).await.unwrap_err().kind(), Kind::Denied);
    }
    let listed: Vec<_> =
        fleet.revoked_serials(SystemTime::now()).into_iter().map(|(serial, _)| serial).collect();
    assert_eq!(listed, [named(&device).serial, named(&next).serial], "third parties are told of both");
    assert_eq!(fleet.remove_device(&by, id).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_clone_is_given_a_token_once_an_operator_has_approved_of_it() {
    let (fleet, _folder) = fleet().await;
    let device = named(&enrolled_device(&fleet).await).id();
    let by = fleet.caller(&named(&administrator(&fleet).await)).unwrap();
    let tenant = by.tenant;
    let approve = async |last| fleet.approve_clone(&by, device, [192, 0, 2, last].into()).await;
    assert_eq!(approve(1).await.unwrap_err().kind(), Kind::Invalid, "there is none");
    fleet.cloned(tenant, device, from(), "pc-2").await.unwrap();
    let offered = async |from, machine| fleet.token_for_clone(tenant, device, from, machine).await.unwrap();
    assert_eq!(offered(from(), "pc-2").await, None, "nobody has approved of it");
    assert_eq!(approve(9).await.unwrap_err().kind(), Kind::Conflict, "that is another");
    approve(1).await.unwrap();
    fleet.cloned(tenant, device, ([192, 0, 2, 9], 1).into(), "pc-2").await.unwrap();
    assert_eq!(offered(([192, 0, 2, 9], 1).into(), "pc-2").await, None, "of another machine nobody has");
    assert_eq!(offered(from(), "pc-3").await, None);
    let token = offered(from(), "pc-2").await.unwrap();
    assert_eq!(offered(from(), "pc-2").await, None, "once");
    let own = enrol(&fleet, &token).await.unwrap();
    assert_ne!(own.id(), device);
    assert_eq!(enrol(&fleet, &token).await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn a_disk_that_was_set_back_is_noticed_and_a_lost_answer_or_a_restored_store_is_none() {
    let (fleet, _folder) = fleet().await;
    let device = fleet.device_of(&named(&enrolled_device(&fleet).await)).unwrap();
    let says = async |last: u8, next: u8| {
        let id = |n: u8| if n == 0 { bytes::Bytes::new() } else { vec![n; 16].into() };
        let hello = Hello { sync: id(next), last_sync: id(last), ..Hello::default() };
        assert!(sync::is_asked(&hello));
        fleet.synchronise(&device, &hello, from()).await.unwrap()
    };
    assert_eq!(says(0, 1).await, Synced::InOrder, "the first time");
    assert_eq!(says(0, 1).await, Synced::InOrder, "WELCOME was lost");
    assert_eq!(says(1, 2).await, Synced::InOrder);
    assert_eq!(says(0, 1).await, Synced::SetBack);
    assert!(fleet.device(device.tenant, &device.id.to_string()).unwrap().set_back.is_some());
    assert_eq!(says(1, 3).await, Synced::InOrder, "it goes on from there");
    let of_before = record::SyncRecord { id: vec![9; 16].into(), incarnation: vec![0; 8] };
    let put = Op::put(keys::sync(device.tenant, device.id), of_before.encode_to_vec());
    fleet.store.commit(OpId::random(), Vec::new(), vec![put]).await.unwrap();
    assert_eq!(says(3, 4).await, Synced::InOrder, "a restored store knows older ids than its devices");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_see_who_is_revoked_lets_nobody_in() {
    let (fleet, _folder) = fleet().await;
    let device = named(&enrolled_device(&fleet).await);
    // The store is closed: its watch is lost, and it proves nothing.
    fleet.store.close().await;
    tokio::time::sleep(sight::BLIND_AFTER - Duration::from_secs(1)).await;
    fleet.device_of(&device).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = fleet.device_of(&device).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_store_in_which_nothing_happens_blinds_nobody() {
    let (fleet, _folder) = fleet().await;
    let device = named(&enrolled_device(&fleet).await);
    for _ in 0..20 {
        tokio::time::sleep(sight::BLIND_AFTER / 10).await;
        fleet.device_of(&device).unwrap();
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let last = fleet.revoke_operator(&admin, admin.operator, "bye").await;
    assert_eq!(last.unwrap_err().kind(), Kind::Conflict);
    let roles = || [OperatorRole::Administrator].into_iter().collect();
    let (_, invitation) = fleet.add_operator(&admin, "invited", roles(), HOUR).await.unwrap();
    let last = fleet.revoke_operator(&admin, admin.operator, "bye").await;
    assert_eq!(last.unwrap_err().kind(), Kind::Conflict, "an invitation administers nothing");
    let second = fleet.caller(&log_in(&fleet, &invitation).await.unwrap()).unwrap();
    let (one, other) = tokio::join!(
        fleet.revoke_operator(&admin, second.operator, "you"),
        fleet.revoke_operator(&second, admin.operator, "no, you"),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test]
async fn groups_are_a_tree_that_only_loses_empty_leaves() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let office = fleet.add_group(&admin, "office", None).await.unwrap();
    let servers = fleet.add_group(&admin, "servers", Some(office.id)).await.unwrap();
    assert_eq!(servers.path, "/office/servers");
    assert_eq!(fleet.add_group(&admin, "office", None).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(fleet.remove_group(&admin, office.id).await.unwrap_err().kind(), Kind::Conflict);
    let (_, secret) = fleet.add_token(&admin, servers.id, 1, HOUR).await.unwrap();
    let device = enrol(&fleet, &secret).await.unwrap();
    assert_eq!(fleet.remove_group(&admin, servers.id).await.unwrap_err().kind(), Kind::Conflict);
    fleet.move_device(&admin, device.id(), office.id).await.unwrap();
    let (token, _) = fleet.add_token(&admin, servers.id, 1, HOUR).await.unwrap();
    assert_eq!(fleet.remove_group(&admin, servers.id).await.unwrap_err().kind(), Kind::Conflict);
    fleet.remove_token(&admin, &token.id).await.unwrap();
    fleet.remove_group(&admin, servers.id).await.unwrap();
    assert_eq!(fleet.group(admin.tenant, "office").unwrap().devices, 1);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_newest_first() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let group = fleet.add_group(&admin, "office", None).await.unwrap();
    let (_, secret) = fleet.add_token(&admin, group.id, 1, HOUR).await.unwrap();
    let device = enrol(&fleet, &secret).await.unwrap();
    fleet.revoke_device(&admin, device.id(), "stolen").await.unwrap();
    fleet.remove_group(&admin, group.id).await.unwrap();
    let entries = fleet.audit(admin.tenant, None, 100).await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    let expected = [
        "group.remove",
        "device.revoke",
        "device.enroll",
        "token.add",
        "group.add",
        "operator.login",
        "operator.add",
        "group.add",
    ];
    assert_eq!(actions, expected);
    assert!(entries.is_sorted_by(|newer, older| newer.number > older.number));
    let older = fleet.audit(admin.tenant, Some(entries[2].number), 2).await.unwrap();
    assert_eq!(older, entries[3..5]);
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let (first, folder) = fleet().await;
    let admin = admin(&first).await;
    let (_, secret) = first.add_token(&admin, groups::root(admin.tenant), 5, HOUR).await.unwrap();
    let device = enrol(&first, &secret).await.unwrap();
    first.revoke_device(&admin, device.id(), "stolen").await.unwrap();
    let (devices, operators, audit) = (
        first.devices(admin.tenant),
        first.operators(admin.tenant),
        first.audit(admin.tenant, None, 100).await.unwrap(),
    );
    let again =
        Fleet::load(Arc::clone(&first.store), Arc::clone(&first.fabric), Arc::clone(&first.directory));
    let again = again.await.unwrap();
    assert_eq!((again.devices(admin.tenant), again.operators(admin.tenant)), (devices, operators));
    assert_eq!(again.audit(admin.tenant, None, 100).await.unwrap(), audit);
    drop(folder);
}

#[tokio::test]
async fn when_a_device_was_last_seen_survives_a_restart() {
    let (first, _folder) = fleet().await;
    let admin = admin(&first).await;
    let (_, secret) = first.add_token(&admin, groups::root(admin.tenant), 1, HOUR).await.unwrap();
    let device = enrol(&first, &secret).await.unwrap().id();
    first.came_online(device, from(), None, "1.0");
    first.write_seen(SystemTime::UNIX_EPOCH, true).await.unwrap();
    let again =
        Fleet::load(Arc::clone(&first.store), Arc::clone(&first.fabric), Arc::clone(&first.directory));
    let presence = again.await.unwrap().devices(admin.tenant)[0].presence.clone();
    assert!(!presence.online && presence.last_seen.is_some(), "{presence:?}");
}

#[tokio::test]
async fn whoever_is_revoked_is_cut_even_when_that_cannot_be_stored() {
    let (fleet, _folder) = fleet().await;
    let admin = admin(&fleet).await;
    let mut denials = fleet.denials();
    let anna = OperatorId::random();
    // More operations than a commit may have: the store refuses it, as it would on a full disk.
    let key = |n: u32| keys::audit(admin.tenant, 1_000_000 + u64::from(n));
    let change = || Change::new(admin.tenant, "admin", "operator.revoke", "anna");
    let change = || Ok((0..100).fold(change(), |change, n| change.delete(key(n))));
    let refused = fleet.commit_denial(Denied::Operator(anna), change).await.unwrap_err();
    assert_eq!((refused.kind(), denials.try_recv()), (Kind::Unavailable, Ok(Denied::Operator(anna))));
}

const HOUR: Duration = Duration::from_secs(3600);

async fn fleet() -> (Arc<Fleet>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let fabric = Arc::new(Fabric::init(folder.path(), SystemTime::now()).unwrap());
    let store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let announced = Announced {
        hosts: vec!["localhost".into()],
        https_port: 8443,
        agent_ports: vec![23_100],
        tunnel_ports: vec![29_200],
        reconnect_window: Duration::from_secs(2),
    };
    let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::default(), announced));
    (Fleet::load(store, fabric, directory).await.unwrap(), folder)
}

async fn admin(fleet: &Arc<Fleet>) -> Caller {
    let (_, invitation) = fleet.add_first_operator("admin", HOUR).await.unwrap();
    let principal = log_in(fleet, &invitation).await.unwrap();
    fleet.caller(&principal).unwrap()
}

async fn log_in(fleet: &Fleet, invitation: &str) -> Result<Principal, FleetError> {
    let token = Invitation::parse(invitation).unwrap().token();
    let (asked, key) = asked(token);
    let reply = fleet.login(asked, from()).await?;
    let pin = fleet.fabric.trust().pin();
    Ok(reply.verify(&pin, key.public(), Role::Operator, SystemTime::now()).unwrap().principal)
}

async fn enrol(fleet: &Fleet, secret: &str) -> Result<Principal, FleetError> {
    let (asked, key) = asked(secret.to_owned());
    let reply = fleet.enroll(asked, from()).await?;
    let pin = fleet.fabric.trust().pin();
    Ok(reply.verify(&pin, key.public(), Role::Agent, SystemTime::now()).unwrap().principal)
}

async fn enrolled_device(fleet: &Arc<Fleet>) -> Identity {
    let tenant = fleet.fabric.tenant();
    let roles = [OperatorRole::Administrator].into_iter().collect();
    let by = Caller { operator: OperatorId::random(), name: "test".into(), tenant, roles };
    let (_, secret) = fleet.add_token(&by, groups::root(tenant), 1, HOUR).await.unwrap();
    let (asked, key) = asked(secret);
    identity(fleet, &fleet.enroll(asked, from()).await.unwrap(), key, Role::Agent)
}

async fn administrator(fleet: &Arc<Fleet>) -> Identity {
    let (_, invitation) = fleet.add_first_operator("admin", HOUR).await.unwrap();
    let (asked, key) = asked(Invitation::parse(&invitation).unwrap().token());
    identity(fleet, &fleet.login(asked, from()).await.unwrap(), key, Role::Operator)
}

async fn renew(fleet: &Fleet, old: &Identity) -> Result<Identity, FleetError> {
    let reply = fleet.renew(&RenewRequest::new(old).unwrap(), from()).await?;
    Ok(identity(fleet, &reply, old.key.clone(), named(old).role))
}

fn identity(fleet: &Fleet, reply: &EnrollReply, key: SigningKey, role: Role) -> Identity {
    let trust = fleet.fabric.trust();
    let enrolled = reply.verify_under(trust, key.public(), role, SystemTime::now()).unwrap();
    Identity { chain: enrolled.chain, key }
}

fn named(identity: &Identity) -> Principal {
    Principal::named_in(&identity.chain[0]).unwrap()
}

/// Whom a reply's certificate names.
fn holder(reply: &EnrollReply) -> Principal {
    let leaf = BASE64URL_NOPAD.decode(reply.chain[0].as_bytes()).unwrap();
    Principal::named_in(&leaf.into()).unwrap()
}

fn asked(token: String) -> (EnrollRequest, SigningKey) {
    let key = SigningKey::generate_p256();
    let request = BASE64URL_NOPAD.encode(&request(&key).unwrap());
    (EnrollRequest { token, request, host_name: "pc-1".into(), os: "Debian 12".into() }, key)
}

fn from() -> SocketAddr {
    ([192, 0, 2, 1], 4711).into()
}
