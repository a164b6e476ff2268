//! What the server, the initiators and the network may do to a target.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::ConnId;
use klnet_tunnel::stream::{Go, SessionId};
use klnet_tunnel::target::Input;
use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::message::{Open, Recorded, Revoke};
use klnet_wire::signed::{Context, PublicKey};

use super::{Conn, Stage, World, operator, own, servers};
use crate::fixed::{DEVICE, FABRIC, KEY, NOW, OTHER_KEY, SERVER, TENANT};
use crate::script::Script;

impl World {
    pub(super) fn connection(&mut self, script: &mut Script<'_>) {
        let choice = script.byte();
        self.input(Input::OwnAddresses(own()));
        match choice % 4 {
            0 => {
                self.online = false;
                self.input(Input::Disconnected);
            }
            1 => {
                self.keys = true;
                self.input(Input::Keys(Arc::new(keys())));
            }
            _ => {
                self.online = true;
                self.epoch += u64::from(choice & 4 != 0);
                let relay = (choice & 8 != 0).then_some(SERVER);
                self.input(Input::Connected { epoch: self.epoch, clock: NOW, forbidden: servers(), relay });
            }
        }
    }

    pub(super) fn mint(&mut self, script: &mut Script<'_>) {
        let wrong = script.byte();
        let seconds = |script: &mut Script<'_>, most: u8| Duration::from_secs((script.byte() % most).into());
        let hosts = ["", "", "files.example.org", "10.9.9.9", "127.0.0.1", "::ffff:169.254.169.254"];
        let grant = Grant {
            id: GrantId::new((self.grants.len() as u128).to_be_bytes()),
            tenant: if wrong == 1 { TenantId::new([1; 16]) } else { TENANT },
            device: if wrong == 2 { DeviceId::new([9; 16]) } else { DEVICE },
            host: Host::parse(script.pick(&hosts).copied().unwrap_or_default()).expect("a host"),
            port: if wrong == 3 { TELNET } else { SSH },
            cnf: operator(),
            operator: OperatorId::new([1; 16]),
            audience: SERVER,
            route: if wrong == 4 { vec![SERVER] } else { Vec::new() },
            epoch: self.epoch + u64::from(wrong == 5),
            start: seconds(script, 60) + SECOND,
            session: seconds(script, 100) + SECOND,
            idle: seconds(script, 30) + SECOND,
            orphan: seconds(script, 60) + SECOND,
            rate: None,
            connections: NonZeroU32::MIN.saturating_add(u32::from(script.byte() % 3)),
            issued: NOW + u64::from(script.byte()),
        };
        let signer = if wrong == 6 { &OTHER_KEY } else { &KEY };
        let context = if wrong == 7 { Context::TunnelRecord } else { Context::Grant };
        let mut signed = signer.sign(context, grant.encode());
        if wrong == 8 {
            signed.bytes = signed.bytes.slice(..signed.bytes.len() - 1);
        }
        // One of the next epoch is sound: its time may come.
        self.grants.push((grant, signed, !matches!(wrong, 1..=4 | 6..=8)));
        self.give(self.grants.len() - 1);
    }

    pub(super) fn grant_again(&mut self, script: &mut Script<'_>) {
        if let Some(index) = script.index(self.grants.len()) {
            self.give(index);
        }
    }

    fn give(&mut self, index: usize) {
        let (grant, signed, sound) = self.grants[index].clone();
        self.target.handle_input(self.now, Input::Grant(signed));
        let accepted = self.drain();
        if accepted.contains(&grant.id) {
            assert!(sound && self.keys && self.online && grant.epoch == self.epoch, "{grant:?}");
            assert!(self.taken.insert(grant.id), "a grant is taken once");
        }
    }

    pub(super) fn open(&mut self, script: &mut Script<'_>) {
        let Some((grant, ..)) = script.pick(&self.grants) else { return };
        let (id, mut bytes) = (grant.id, [0; 20]);
        bytes[..4].copy_from_slice(&self.next_cookie.to_be_bytes());
        self.next_cookie += 1;
        let live: Vec<_> = self.conns.values().map(|conn| conn.cookie).collect();
        let again = script.pick(&live).copied().filter(|_| script.byte() > 200);
        let (cookie, before) = (again.unwrap_or(Cookie::new(bytes)), self.conns.len());
        let open = Open {
            grant: id.to_vec().into(),
            cookie: cookie.as_bytes().to_vec().into(),
            expires_ms: script.number(),
        };
        self.input(Input::Open(open));
        assert!(again.is_none() || self.conns.len() == before, "the same OPEN again changes nothing");
    }

    pub(super) fn dialed_back(&mut self, script: &mut Script<'_>) {
        let Some(conn) = self.any(script) else { return };
        let result = if script.byte() > 230 { Err("no route".to_owned()) } else { Ok(()) };
        if let Some(it) = self.conns.get_mut(&conn).filter(|it| it.stage == Stage::DialingBack) {
            it.stage = Stage::Handshaking;
            if result.is_err() {
                self.conns.remove(&conn);
            }
        }
        self.input(Input::DialedBack { conn, result });
    }

    pub(super) fn handshake(&mut self, script: &mut Script<'_>) {
        let Some(conn) = self.any(script) else { return };
        let choice = script.byte();
        if choice > 230 {
            if self.conns.get(&conn).is_some_and(Conn::is_pending) {
                self.conns.remove(&conn);
            }
            let unused = choice > 242;
            return self.input(match unused {
                true => Input::Unused { conn },
                false => Input::HandshakeFailed { conn, why: "reset".into() },
            });
        }
        let key = if choice > 200 { PublicKey::P256([5; 65]) } else { operator() };
        let good = key == operator();
        if let Some(it) = self.conns.get_mut(&conn).filter(|it| good && it.stage == Stage::Handshaking) {
            it.stage = Stage::Verified;
        }
        self.input(Input::Handshaken { conn, key });
    }

    pub(super) fn go(&mut self, script: &mut Script<'_>) {
        let Some(conn) = self.any(script) else { return };
        let sessions: Vec<_> = self.sessions.values().copied().collect();
        let known = self.conns.get(&conn).and_then(|it| self.sessions.get(&it.grant.id)).copied();
        let session = match script.byte() % 4 {
            0 => None,
            1 | 2 => known,
            _ => script.pick(&sessions).copied().or(Some(SessionId::new([9; 16]))),
        };
        let mut first = None;
        if let Some(it) = self.conns.get_mut(&conn).filter(|it| it.stage == Stage::Verified) {
            it.stage = Stage::Going;
            first = session.is_none().then_some(it.grant.id);
        }
        self.input(Input::Go { conn, go: Go { session, connection: script.number() } });
        let goes_on = |it: &Conn| matches!(it.stage, Stage::Resolving | Stage::Dialing(_));
        if let Some(id) = first
            && self.conns.get(&conn).is_some_and(goes_on)
        {
            assert!(self.redeemed.insert(id), "a grant is redeemed once");
        }
    }

    pub(super) fn resolved(&mut self, script: &mut Script<'_>) {
        let Some(conn) = self.any(script) else { return };
        let pool = [
            "10.1.1.1",
            "10.2.2.2",
            "10.0.0.7",
            "127.0.0.1",
            "::1",
            "fd00::7",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ];
        let some = (0..script.byte() % 12).filter_map(|_| script.pick(&pool)?.parse().ok()).collect();
        let addresses = if script.byte() > 230 { Err("no such name".to_owned()) } else { Ok(some) };
        self.input(Input::Resolved { conn, addresses });
    }

    pub(super) fn dialed(&mut self, script: &mut Script<'_>) {
        let Some(conn) = self.any(script) else { return };
        let asked = match self.conns.get(&conn).map(|it| &it.stage) {
            Some(Stage::Dialing(asked)) => script.pick(asked).copied(),
            _ => None,
        };
        let elsewhere = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 66), 22));
        let result = match script.byte() {
            0..=200 => Ok(asked.unwrap_or(elsewhere)),
            201..=230 => Ok(elsewhere),
            _ => Err("refused".to_owned()),
        };
        self.input(Input::Dialed { conn, result });
    }

    pub(super) fn ended(&mut self, script: &mut Script<'_>) {
        if let Some(conn) = self.any(script) {
            self.end(conn);
        }
    }

    pub(super) fn told(&mut self, script: &mut Script<'_>) {
        let id = script.pick(&self.grants).map_or_else(Vec::new, |(grant, ..)| grant.id.to_vec());
        let cookies: Vec<_> = self.records.keys().copied().collect();
        match script.pick(&cookies).filter(|_| script.coin()) {
            Some(cookie) => {
                let cookie = cookie.as_bytes().to_vec().into();
                self.input(Input::Recorded(Recorded { cookie }));
            }
            None => self.input(Input::Revoke(Revoke { grants: vec![id.into()], reason: String::new() })),
        }
    }

    fn any(&self, script: &mut Script<'_>) -> Option<ConnId> {
        let conns: Vec<_> = self.conns.keys().copied().collect();
        script.pick(&conns).copied()
    }
}

fn keys() -> KeySet {
    let public = KEY.public().as_bytes().to_vec().into();
    let key = Key { purpose: Purpose::Grant.into(), public, not_before: 0, not_after: 0 };
    KeySet { fabric: FABRIC.to_vec().into(), version: 1, keys: vec![key] }
}

const SSH: NonZeroU16 = NonZeroU16::new(22).expect("22 is not zero");
const TELNET: NonZeroU16 = NonZeroU16::new(23).expect("23 is not zero");
const SECOND: Duration = Duration::from_secs(1);
