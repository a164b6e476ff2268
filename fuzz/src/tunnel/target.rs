//! The target's state machine against a model of what its driver sees: how far each connection has come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_tunnel::address::{self, OwnAddresses};
use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::{ConnId, EndReason, PairEnd};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::stream::{Answer, Go, SessionId};
use klnet_tunnel::target::{Config, Input, Limits, Output, SPARE_LIFE, Target};
use klnet_wire::id::{DeviceId, GrantId, OperatorId};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, Open, Recorded, Revoke, TunnelState};
use klnet_wire::signed::{Context, PublicKey, Signed};

use crate::fixed::{DEVICE, FABRIC, KEY, NOW, OTHER_KEY, SERVER, TENANT};
use crate::script::Script;

/// Whatever the server, the initiators and the network do: only a sound grant is taken, nothing is dialled before its
/// key and GO came, one redeemer gets its session, each verified connection has one record, and time empties it all.
pub fn target(data: &[u8]) {
    let (mut script, mut world) = (Script::new(data), World::new());
    while let Some(decision) = script.decision() {
        world.step(decision, &mut script);
        world.check();
    }
    world.wind_down();
}

struct World {
    target: Target,
    now: Instant,
    epoch: u64,
    online: bool,
    keys: bool,
    /// Every grant there ever was, and whether it is one the target may take in its epoch.
    grants: Vec<(Grant, Signed, bool)>,
    taken: BTreeSet<GrantId>,
    sessions: BTreeMap<GrantId, SessionId>,
    redeemed: BTreeSet<GrantId>,
    next_cookie: u32,
    conns: BTreeMap<ConnId, Conn>,
    /// The records of verified connections, as first given out.
    records: BTreeMap<Cookie, TunnelRecord>,
    verified: usize,
}

struct Conn {
    grant: Grant,
    cookie: Cookie,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    DialingBack,
    Handshaking,
    /// The right key was shown.
    Verified,
    /// GO came; whether it was the grant's first.
    Going,
    Resolving,
    Dialing(Vec<SocketAddr>),
    Ready,
    Carried,
    Cut,
}

impl World {
    fn new() -> Self {
        let policy = TargetPolicy { deny_ports: vec![23..=23], ..TargetPolicy::default() };
        let config = Config { device: DEVICE, tenant: TENANT, policy, limits: LIMITS, secret: [3; 32] };
        Self {
            target: Target::new(config),
            now: Instant::now(),
            epoch: 0,
            online: false,
            keys: false,
            grants: Vec::new(),
            taken: BTreeSet::new(),
            sessions: BTreeMap::new(),
            redeemed: BTreeSet::new(),
            next_cookie: 0,
            conns: BTreeMap::new(),
            records: BTreeMap::new(),
            verified: 0,
        }
    }

    fn step(&mut self, decision: u8, script: &mut Script<'_>) {
        match decision % 16 {
            0 => self.connection(script),
            1 | 2 => self.mint(script),
            3 => self.grant_again(script),
            4 | 5 => self.open(script),
            6 => self.dialed_back(script),
            7 | 8 => self.handshake(script),
            9 | 10 => self.go(script),
            11 => self.resolved(script),
            12 => self.dialed(script),
            13 => self.ended(script),
            14 => self.told(script),
            _ => self.pass(script.duration()),
        }
    }

    fn connection(&mut self, script: &mut Script<'_>) {
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

    fn mint(&mut self, script: &mut Script<'_>) {
        let wrong = script.byte();
        let seconds = |script: &mut Script<'_>, most: u8| Duration::from_secs((script.byte() % most).into());
        let hosts = ["", "", "files.example.org", "10.9.9.9", "127.0.0.1", "::ffff:169.254.169.254"];
        let grant = Grant {
            id: GrantId::new((self.grants.len() as u128).to_be_bytes()),
            tenant: if wrong == 1 { klnet_wire::id::TenantId::new([1; 16]) } else { TENANT },
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
        self.grants.push((grant, signed, !(1..=8).contains(&wrong)));
        self.give(self.grants.len() - 1);
    }

    fn grant_again(&mut self, script: &mut Script<'_>) {
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

    fn open(&mut self, script: &mut Script<'_>) {
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

    fn dialed_back(&mut self, script: &mut Script<'_>) {
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

    fn handshake(&mut self, script: &mut Script<'_>) {
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

    fn go(&mut self, script: &mut Script<'_>) {
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

    fn resolved(&mut self, script: &mut Script<'_>) {
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

    fn dialed(&mut self, script: &mut Script<'_>) {
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

    fn ended(&mut self, script: &mut Script<'_>) {
        if let Some(conn) = self.any(script) {
            self.end(conn);
        }
    }

    fn end(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.remove(&conn) {
            self.verified += usize::from(!it.is_pending());
        }
        let end = PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Finished };
        self.input(Input::Ended { conn, end });
    }

    fn told(&mut self, script: &mut Script<'_>) {
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

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.target.handle_timeout(self.now);
        self.drain();
        let next = self.target.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a timeout that was handled is over");
    }

    fn input(&mut self, input: Input) {
        self.target.handle_input(self.now, input);
        self.drain();
    }

    /// Does what the target asks for, and gives the grants it says it took.
    fn drain(&mut self) -> Vec<GrantId> {
        let mut accepted = Vec::new();
        for _ in 0..OUTPUTS_LIMIT {
            match self.target.poll_output() {
                Some(Output::Send(Message::TunnelState(state))) => accepted.extend(self.reported(&state)),
                Some(output) => self.obey(output),
                None => return accepted,
            }
        }
        panic!("the outputs never end");
    }

    fn reported(&mut self, state: &TunnelState) -> Option<GrantId> {
        assert!(self.online, "nothing is sent while there is no connection");
        let id = GrantId::try_from(&state.grant[..]).ok()?;
        if state.state() == State::Verified {
            let cookie = Cookie::try_from(&state.cookie[..]).ok();
            let conn = self.conns.values().find(|conn| Some(conn.cookie) == cookie);
            assert!(conn.is_some_and(|conn| conn.stage == Stage::Verified), "only the right key is verified");
        }
        (state.state() == State::GrantAccepted).then_some(id)
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::DialBack { conn, cookie, grant, deadline } => {
                self.dial_back(conn, cookie, grant, deadline)
            }
            Output::Resolve { conn, host, .. } => {
                let conn = self.conns.get_mut(&conn).expect("a live connection");
                assert_eq!((conn.grant.host.to_string(), &conn.stage), (host, &Stage::Going));
                conn.stage = Stage::Resolving;
            }
            Output::Dial { conn, addresses } => self.dial(conn, addresses),
            Output::Answer { conn, answer } => self.answer(conn, &answer),
            Output::Carry { conn, .. } => self.advance(conn, &Stage::Ready, Stage::Carried),
            Output::Cut { conn, .. } => self.advance(conn, &Stage::Carried, Stage::Cut),
            Output::Drop { conn } => {
                let conn = self.conns.remove(&conn).expect("a connection is dropped once");
                // A right key that came when its grant was void counts as nothing.
                assert!(conn.is_pending() || conn.stage == Stage::Verified);
            }
            Output::Sign(record) => self.sign(record),
            Output::Send(message) => assert!(self.online, "{message:?}"),
        }
    }

    fn dial_back(&mut self, conn: ConnId, cookie: Cookie, grant: GrantId, deadline: Instant) {
        assert!(self.taken.contains(&grant), "only for a grant that was taken");
        assert!(deadline <= self.now + SPARE_LIFE);
        let grant = self.grants.iter().find(|(it, ..)| it.id == grant).expect("a known grant").0.clone();
        let fresh = Conn { grant, cookie, stage: Stage::DialingBack };
        assert!(self.conns.insert(conn, fresh).is_none(), "a connection has a name of its own");
    }

    fn dial(&mut self, conn: ConnId, addresses: Vec<SocketAddr>) {
        let conn = self.conns.get_mut(&conn).expect("a live connection");
        assert!(matches!(conn.stage, Stage::Going | Stage::Resolving), "no packet to a target before GO");
        assert!(!addresses.is_empty() && addresses.iter().all(|to| to.port() == conn.grant.port.get()));
        let own = OwnAddresses::new(own().into_iter().chain(servers()));
        for to in &addresses {
            match conn.grant.host {
                Host::Device => assert!(to.ip().is_loopback()),
                Host::Address(ip) => assert_eq!((to.ip(), address::check(ip, &own)), (ip, Ok(()))),
                Host::Name(_) => assert_eq!(address::check(to.ip(), &own), Ok(()), "{to}"),
            }
        }
        conn.stage = Stage::Dialing(addresses);
    }

    fn answer(&mut self, id: ConnId, answer: &Answer) {
        match answer {
            Answer::Ready { session, address } => {
                let conn = self.conns.get_mut(&id).expect("a live connection");
                let Stage::Dialing(asked) = &conn.stage else { panic!("{:?}", conn.stage) };
                assert!(asked.iter().any(|asked| asked.to_string() == *address));
                assert_eq!(self.sessions.entry(conn.grant.id).or_insert(*session), session);
                conn.stage = Stage::Ready;
            }
            Answer::Refused { .. } => {
                let conn = self.conns.remove(&id).expect("a live connection");
                assert!(!conn.is_pending(), "only who has the key is told why");
                self.verified += 1;
            }
        }
    }

    fn advance(&mut self, conn: ConnId, from: &Stage, to: Stage) {
        let conn = self.conns.get_mut(&conn).expect("a live connection");
        assert_eq!(std::mem::replace(&mut conn.stage, to), *from);
    }

    fn sign(&mut self, record: TunnelRecord) {
        assert!(self.online, "a record waits for a connection");
        let first = self.records.entry(record.cookie).or_insert_with(|| record.clone());
        assert_eq!(*first, record, "a record sent again is the same");
        assert!(self.records.len() <= self.verified, "each verified connection has one record");
    }

    fn check(&self) {
        let pending = self.conns.values().filter(|conn| conn.is_pending()).count();
        assert!(pending <= LIMITS.pending);
        // Whatever a relay with an operator's key does: those over the limit are bounded until they are told so.
        assert!(self.conns.len() <= LIMITS.connections + LIMITS.pending);
        assert_eq!(self.target.connections(), self.conns.len() - pending);
        assert!(self.target.unconfirmed() <= LIMITS.records);
        let carried = self.conns.values().filter(|conn| conn.stage == Stage::Carried).count();
        assert!(carried <= LIMITS.connections);
        let settled = self.conns.values().all(|conn| !matches!(conn.stage, Stage::Going | Stage::Ready));
        assert!(settled, "GO and READY are answered at once");
    }

    /// Nothing happens any more but time, and connections that are cut end.
    fn wind_down(mut self) {
        for _ in 0..OUTPUTS_LIMIT {
            let cut: Vec<_> =
                self.conns.iter().filter(|(_, it)| it.stage == Stage::Cut).map(|(id, _)| *id).collect();
            cut.into_iter().for_each(|conn| self.end(conn));
            let stored: Vec<_> =
                self.records.keys().map(|cookie| cookie.as_bytes().to_vec().into()).collect();
            stored.into_iter().for_each(|cookie| self.input(Input::Recorded(Recorded { cookie })));
            let Some(next) = self.target.poll_timeout() else { break };
            self.pass(next.saturating_duration_since(self.now));
        }
        assert_eq!(self.target.poll_timeout(), None);
        // One that is joined to nobody is forgotten by silence; only `Drop` would tell.
        assert_eq!((self.target.connections(), self.conns.len()), (0, 0));
    }
}

impl Conn {
    /// Whether the operator's key has not been verified yet.
    fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::DialingBack | Stage::Handshaking)
    }
}

fn operator() -> PublicKey {
    PublicKey::P256([4; 65])
}

fn servers() -> Vec<IpAddr> {
    vec![IpAddr::from([10, 1, 1, 1])]
}

fn own() -> Vec<IpAddr> {
    vec![IpAddr::from([10, 0, 0, 7])]
}

fn keys() -> KeySet {
    let public = KEY.public().as_bytes().to_vec().into();
    let key = Key { purpose: Purpose::Grant.into(), public, not_before: 0, not_after: 0 };
    KeySet { fabric: FABRIC.to_vec().into(), version: 1, keys: vec![key] }
}

/// So small that a script of a few hundred bytes reaches each.
const LIMITS: Limits = Limits { grants: 4, pending: 3, connections: 4, records: 5, seen: 6 };

const SSH: NonZeroU16 = NonZeroU16::new(22).expect("22 is not zero");
const TELNET: NonZeroU16 = NonZeroU16::new(23).expect("23 is not zero");
const SECOND: Duration = Duration::from_secs(1);
/// More outputs, or timeouts, than a script's world can make.
const OUTPUTS_LIMIT: usize = 10_000;
