use std::time::SystemTime;

use super::*;
use crate::id::{FabricId, TenantId};
use crate::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use crate::identity::crl::Crl;
use crate::identity::enroll::unix;
use crate::signing::SigningKey;

#[test]
fn a_beacon_proves_who_said_it_and_fits_in_one_datagram_of_every_link() {
    let world = World::new();
    let identity = world.identity([7; 16], world.tenant);
    let bytes = Beacon::seal(&identity, &world.presence()).unwrap();
    assert!(bytes.len() <= BEACON_LIMIT, "{}", bytes.len());
    let opened = world.open(&bytes).unwrap();
    assert_eq!(opened.device, DeviceId::new([7; 16]));
    assert_eq!(world.verify(opened), Ok(world.presence()));
}

#[test]
fn a_copy_is_worth_nothing_later_or_from_another_address() {
    let world = World::new();
    let bytes = Beacon::seal(&world.identity([7; 16], world.tenant), &world.presence()).unwrap();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(world.now.as_secs()) + BEACON_WINDOW);
    assert!(Beacon::open(&bytes, &world.own(), FROM, later).is_ok());
    let too_late = UnixTime::since_unix_epoch(Duration::from_secs(later.as_secs() + 1));
    assert!(matches!(Beacon::open(&bytes, &world.own(), FROM, too_late), Err(BeaconError::Time { .. })));
    let elsewhere = IpAddr::from([10, 0, 0, 8]);
    assert!(matches!(
        Beacon::open(&bytes, &world.own(), elsewhere, world.now),
        Err(BeaconError::Address { .. })
    ));
}

#[test]
fn a_stranger_a_server_and_another_tenant_are_nobody() {
    let world = World::new();
    let other_tenant = Beacon::seal(&world.identity([7; 16], TenantId::random()), &world.presence()).unwrap();
    assert_eq!(world.open(&other_tenant).unwrap_err(), BeaconError::Foreign);
    // A fabric of its own that names ours: only the root tells.
    let (forger, mut forged) = (World::new(), world.own());
    forged.id = [9; 16];
    let forged = Beacon::seal(&forger.issue(forged), &world.presence()).unwrap();
    let opened = world.open(&forged).unwrap();
    assert!(matches!(world.verify(opened), Err(BeaconError::Chain(ChainError::NotIssued(_)))));
    let mut server = world.own();
    server.role = Role::Server;
    let server = Beacon::seal(&world.issue(server), &world.presence()).unwrap();
    assert_eq!(world.open(&server).unwrap_err(), BeaconError::Foreign);
}

#[test]
fn a_certificate_is_no_proof_without_its_key() {
    let world = World::new();
    let mut stolen = world.identity([7; 16], world.tenant);
    stolen.key = SigningKey::generate_p256();
    let bytes = Beacon::seal(&stolen, &world.presence()).unwrap();
    assert_eq!(world.verify(world.open(&bytes).unwrap()), Err(BeaconError::Signature(BadSignature)));
}

#[test]
fn a_revoked_device_is_nobody_and_so_is_everyone_while_no_list_is_known() {
    let world = World::new();
    let identity = world.identity([7; 16], world.tenant);
    let serial = Principal::named_in(&identity.chain[0]).unwrap().serial;
    let bytes = Beacon::seal(&identity, &world.presence()).unwrap();
    let verify = |crls: &Crls| world.open(&bytes).unwrap().verify(world.authority.trust(), crls, world.now);
    assert_eq!(verify(&Crls::default()), Err(BeaconError::Chain(ChainError::NoList)));
    assert!(verify(&world.crls(&[])).is_ok());
    assert_eq!(verify(&world.crls(&[(serial, 0)])), Err(BeaconError::Chain(ChainError::Revoked)));
}

#[test]
fn no_flipped_bit_passes_and_no_piece() {
    let world = World::new();
    let bytes = Beacon::seal(&world.identity([7; 16], world.tenant), &world.presence()).unwrap();
    // One bit of each byte, each of the eight in turn.
    for bit in (0..bytes.len()).map(|byte| byte * 8 + byte % 8) {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let passed = world.open(&forged).and_then(|opened| world.verify(opened));
        assert!(passed.is_err(), "bit {bit}");
    }
    let passes = |piece| world.open(piece).and_then(|opened| world.verify(opened)).is_ok();
    assert!(!(0..bytes.len()).any(|len| passes(&bytes[..len])));
}

#[test]
fn a_name_is_cut_where_a_character_ends() {
    let world = World::new();
    let name = "ä".repeat(NAME_LIMIT);
    let bytes =
        Beacon::seal(&world.identity([7; 16], world.tenant), &Presence { name, ..world.presence() }).unwrap();
    assert_eq!(world.open(&bytes).unwrap().presence.name, "ä".repeat(NAME_LIMIT / 2));
}

struct World {
    authority: Authority,
    tenant: TenantId,
    now: UnixTime,
}

impl World {
    fn new() -> Self {
        let (root, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root, now).unwrap();
        let authority = Authority::make(trust, &root, SigningKey::generate_p256(), now).unwrap();
        Self { authority, tenant: TenantId::random(), now: unix(now) }
    }

    fn own(&self) -> Principal {
        let (fabric, tenant): (FabricId, _) = (self.authority.trust().fabric(), self.tenant);
        Principal { fabric, tenant, role: Role::Agent, id: [1; 16], serial: Vec::new() }
    }

    fn identity(&self, id: [u8; 16], tenant: TenantId) -> Identity {
        self.issue(Principal { id, tenant, ..self.own() })
    }

    fn issue(&self, principal: Principal) -> Identity {
        let key = SigningKey::generate_p256();
        let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), AGENT_LIFE);
        Identity { chain: self.authority.issue(key.public(), &leaf).unwrap(), key }
    }

    fn presence(&self) -> Presence {
        Presence { sent: self.now.as_secs(), address: FROM, every: EVERY_MIN, name: "web-7".into() }
    }

    fn open(&self, bytes: &[u8]) -> Result<Opened, BeaconError> {
        Beacon::open(bytes, &self.own(), FROM, self.now)
    }

    fn verify(&self, opened: Opened) -> Result<Presence, BeaconError> {
        opened.verify(self.authority.trust(), &self.crls(&[]), self.now)
    }

    fn crls(&self, revoked: &[(Vec<u8>, u64)]) -> Crls {
        let list = self.authority.revoke(1, revoked, SystemTime::now(), Duration::from_secs(3600)).unwrap();
        let (crls, issuer) = (Crls::default(), self.authority.key().public().clone());
        assert!(crls.take(Crl::verify(&list, [issuer]).unwrap()).is_ok());
        crls
    }
}

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
