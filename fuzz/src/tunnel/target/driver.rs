//! What a driver does with what a target decides, and what it may decide.

use std::net::SocketAddr;
use std::time::Instant;

use klnet_tunnel::address::{self, OwnAddresses};
use klnet_tunnel::grant::Host;
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::ConnId;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::stream::Answer;
use klnet_tunnel::target::{Output, SPARE_LIFE};
use klnet_wire::id::GrantId;
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, TunnelState};

use super::{Conn, OUTPUTS_LIMIT, Stage, World, own, servers};

impl World {
    /// Does what the target asks for, and gives the grants it says it took.
    pub(super) fn drain(&mut self) -> Vec<GrantId> {
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
}
