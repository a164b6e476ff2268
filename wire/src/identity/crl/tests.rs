//! Every state of the lists, against every way into a session.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{ClientConfig, Resumption};
use rustls::{ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use super::*;
use crate::id::{Id, TenantId};
use crate::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use crate::identity::enroll::unix;
use crate::identity::tls::{ALPN_AGENT, Clients, Identity, Shown, client_config, server_config};
use crate::identity::{Principal, Role};
use crate::signing::SigningKey;

#[test]
fn no_state_of_the_lists_lets_a_revoked_device_in_and_only_a_good_list_the_others() {
    let site = Site::new();
    let (old, new) = (site.list(1, &[]), site.list(2, &[&site.revoked]));
    let foreign = Site::new().list(9, &[]);
    let mut forged = site.list(9, &[]);
    *forged.last_mut().unwrap() ^= 1;
    let over = site.authority.revoke(3, &[], SystemTime::now() - LIFE * 2, LIFE).unwrap();
    let lower = site.list(1, &[]);
    let states: [(&str, Vec<&[u8]>, bool); 9] = [
        ("no list", vec![], false),
        ("new", vec![&new], true),
        ("old, new", vec![&old, &new], true),
        ("new, old", vec![&new, &old], true),
        ("over", vec![&over], false),
        ("new, over", vec![&new, &over], false),
        ("unknown issuer", vec![&foreign], false),
        ("wrong signature", vec![&forged], false),
        ("new, lower number", vec![&new, &lower], true),
    ];
    let mut cells = 0;
    for (state, lists, good) in states {
        for way in [Way::Full, Way::Resuming, Way::EarlyData] {
            let server = site.server(&lists);
            let met = |who| site.meet(&server, &way.client(&site, who));
            assert_eq!(met(&site.good).is_ok(), good, "{state}, {way:?}: a good device");
            let refused = met(&site.revoked);
            assert!(refused.is_err(), "{state}, {way:?}: {refused:?}");
            cells += 1;
        }
    }
    assert_eq!(cells, 27);
    // The negative control: a list that does not name it lets it in.
    let server = site.server(&[&old]);
    assert!(site.meet(&server, &Way::Full.client(&site, &site.revoked)).is_ok());
}

#[test]
fn who_was_let_in_before_is_not_let_in_again() {
    for way in [Way::Full, Way::Resuming, Way::EarlyData] {
        let site = Site::new();
        let server = site.server(&[&site.list(1, &[])]);
        let client = way.client(&site, &site.revoked);
        assert_eq!(site.meet(&server, &client), Ok(HandshakeKind::Full));
        let newer = Crl::verify(&site.list(2, &[&site.revoked]), site.issuers()).unwrap();
        assert_eq!(site.crls.take(newer), Ok(Taken::Newer));
        assert!(site.meet(&server, &client).is_err(), "{way:?}");
    }
}

#[test]
fn no_session_is_ever_resumed() {
    let site = Site::new();
    let server = site.server(&[&site.list(1, &[])]);
    let client = Way::EarlyData.client(&site, &site.good);
    let count = if std::env::var_os("KLNET_LONG").is_some() { 10_000 } else { 200 };
    for _ in 0..count {
        assert_eq!(site.meet(&server, &client), Ok(HandshakeKind::Full));
    }
}

#[test]
fn a_list_past_its_time_never_stops_the_fetching_of_a_newer_one() {
    let (site, year) = (Site::new(), Duration::from_secs(365 * 86_400));
    let (now, crls) = (SystemTime::now(), Crls::default());
    let take = |list: &[u8]| crls.take(Crl::verify(list, site.issuers()).unwrap());
    assert_eq!(take(&site.list(1, &[&site.revoked])), Ok(Taken::Newer));
    let (issuer, serial) = (site.authority.key().public(), serial(&site.good));
    let check = |serial: &[u8], freshness| crls.check(issuer, serial, unix(now + year), freshness);
    assert!(matches!(check(&serial, Freshness::Enforced), Err(ChainError::StaleList(_))));
    assert_eq!(check(&serial, Freshness::Waived), Ok(()));
    let revoked = self::serial(&site.revoked);
    assert_eq!(check(&revoked, Freshness::Waived), Err(ChainError::Revoked), "old, but true");
    let newer = site.authority.revoke(2, &[], now + year, LIFE).unwrap();
    assert_eq!(take(&newer), Ok(Taken::Newer));
    assert_eq!(check(&serial, Freshness::Enforced), Ok(()));
}

#[test]
fn no_flipped_bit_makes_another_list() {
    let site = Site::new();
    let list = site.list(7, &[&site.revoked]);
    assert_eq!(Crl::verify(&list, site.issuers()).unwrap().number(), 7);
    for bit in 0..list.len() * 8 {
        let mut forged = list.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(taken) = Crl::verify(&forged, site.issuers()) {
            assert_eq!(
                (taken.number(), taken.next_update),
                (7, Crl::verify(&list, site.issuers()).unwrap().next_update)
            );
            assert!(
                taken.check(&serial(&site.revoked), unix(SystemTime::now()), Freshness::Enforced).is_err()
            );
        }
    }
}

#[test]
fn lists_are_of_a_number_once_every_issuer_has_one_of_it() {
    let (site, other) = (Site::new(), Site::new());
    let issuers = [site.issuers(), other.issuers()].concat();
    assert!(site.crls.are_of(&[], 1) && !site.crls.are_of(&issuers, 1));
    let _ = site.crls.update(&issuers, &[site.list(2, &[]), other.list(1, &[])]);
    assert!(site.crls.are_of(&issuers, 1) && !site.crls.are_of(&issuers, 2));
    let _ = site.crls.update(&issuers, &[other.list(3, &[])]);
    assert!(site.crls.are_of(&issuers, 2));
}

/// How a client comes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Full,
    Resuming,
    EarlyData,
}

impl Way {
    fn client(self, site: &Site, who: &Identity) -> Arc<ClientConfig> {
        let config = client_config(Some(who), site.authority.trust().clone(), &[ALPN_AGENT]).unwrap();
        let mut config = (*config).clone();
        if !matches!(self, Self::Full) {
            config.resumption = Resumption::in_memory_sessions(16);
        }
        config.enable_early_data = matches!(self, Self::EarlyData);
        Arc::new(config)
    }
}

struct Site {
    authority: Authority,
    crls: Arc<Crls>,
    server: Identity,
    good: Identity,
    revoked: Identity,
}

impl Site {
    fn new() -> Self {
        let (root_key, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root_key, now).unwrap();
        let authority = Authority::make(trust, &root_key, SigningKey::generate_p256(), now).unwrap();
        let [server, good, revoked] =
            [Role::Server, Role::Agent, Role::Agent].map(|role| identity(&authority, role));
        Self { authority, crls: Arc::default(), server, good, revoked }
    }

    fn issuers(&self) -> [PublicKey; 1] {
        [self.authority.key().public().clone()]
    }

    fn list(&self, number: u64, revoked: &[&Identity]) -> Vec<u8> {
        let revoked: Vec<_> = revoked.iter().map(|identity| (serial(identity), 1)).collect();
        self.authority.revoke(number, &revoked, SystemTime::now(), LIFE).unwrap()
    }

    /// A server that was offered these lists, in this order.
    fn server(&self, lists: &[&[u8]]) -> Arc<ServerConfig> {
        self.crls.retain(&[]);
        for list in lists {
            let _ = Crl::verify(list, self.issuers()).and_then(|crl| self.crls.take(crl));
        }
        let (shown, clients) = (Shown::new(&self.server), Clients::Required(&[Role::Agent]));
        server_config(&shown, self.authority.trust().clone(), Some(self.crls.clone()), clients, &[ALPN_AGENT])
            .unwrap()
    }

    /// A handshake, and what kind it was.
    fn meet(
        &self,
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> Result<HandshakeKind, rustls::Error> {
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        assert!(client.early_data().is_none(), "there is nothing to send it with");
        for _ in 0..8 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(server.handshake_kind().expect("the handshake is over"))
    }
}

fn identity(authority: &Authority, role: Role) -> Identity {
    let (fabric, key, id) =
        (authority.trust().fabric(), SigningKey::generate_p256(), *Id::<()>::random().as_bytes());
    let principal = Principal { fabric, tenant: TenantId::random(), role, id, serial: Vec::new() };
    let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), AGENT_LIFE);
    Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key }
}

fn serial(identity: &Identity) -> Vec<u8> {
    Principal::named_in(&identity.chain[0]).unwrap().serial
}

const LIFE: Duration = Duration::from_secs(7 * 86_400);
