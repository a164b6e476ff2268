//! What may happen in a world at any moment, whether or not it makes sense.

use std::collections::BTreeSet;
use std::sync::Arc;

use klnet_wire::id::{GrantId, OperatorId};
use klnet_wire::message::{Message, Open, Recorded, Revoke, TunnelState, Tunnels};
use klnet_wire::signed::Context;

use super::{END, Link, Next, UNIX, World, relay_config};
use crate::grant::tests::sample;
use crate::grant::{Grant, Host};
use crate::label::{Label, LabelSecret};
use crate::pair::{ConnId, PairId};
use crate::relay::{self, Relay, Scope};
use crate::stream::{Go, SessionId};
use crate::target;

impl World {
    pub(super) fn mint(&mut self) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let hosts = ["", "", "files.lan", "127.0.0.1", "10.0.0.9"];
        let host = Host::parse(hosts[self.random.index(hosts.len())]).unwrap();
        let connections = u32::try_from(1 + self.random.below(4)).unwrap().try_into().unwrap();
        let grant = Grant { id: GrantId::new(id), host, connections, epoch: self.epoch, ..sample() };
        if self.relay.admit(self.now, UNIX, Arc::new(grant.clone()), secret()).is_ok() {
            let signed = self.key.sign(Context::Grant, grant.encode());
            self.to_agent.push_back(Message::Grant(signed));
            self.grants.push(grant);
        }
        self.drain();
    }

    pub(super) fn hello(&mut self) {
        let Some(grant) = self.some_grant() else { return };
        let label = Label::of(&secret(), grant, u32::try_from(self.random.below(8)).unwrap());
        let conn = self.socket();
        let peer = "198.18.0.1:4444".parse().unwrap();
        self.at_relay(relay::Input::Initiator { conn, label, peer });
    }

    pub(super) fn deliver_to_agent(&mut self) {
        let Some(message) = self.to_agent.pop_front() else { return };
        let input = match message {
            Message::Grant(signed) => target::Input::Grant(signed),
            Message::Open(open) => target::Input::Open(open),
            Message::Revoke(revoke) => target::Input::Revoke(revoke),
            Message::Recorded(recorded) => target::Input::Recorded(recorded),
            message => panic!("{message:?}"),
        };
        self.at_target(input);
    }

    pub(super) fn deliver_to_relay(&mut self) {
        match self.to_relay.pop_front() {
            Some(Message::TunnelState(state)) => {
                self.at_relay(relay::Input::State(state, sample().device));
            }
            Some(Message::Tunnels(tunnels)) => {
                self.at_relay(relay::Input::Tunnels(tunnels, sample().device));
            }
            Some(message) => panic!("{message:?}"),
            None => {}
        }
    }

    /// Tells the target something its driver could tell, in the order of a good connection or not.
    pub(super) fn work_at_target(&mut self) {
        let Some((&conn, &link)) = self.random.pick(&self.connections) else { return };
        let session = self.sessions.get(&link.grant).copied().filter(|_| self.random.below(8) > 0);
        if self.random.below(5) == 0 {
            let input = self.misstep(conn);
            return self.at_target(input);
        }
        let input = match link.next {
            Next::DialBack => {
                let relayed = self.socket();
                self.at_relay(relay::Input::Target { conn: relayed, cookie: link.cookie });
                self.connections.entry(conn).and_modify(|link| link.next = Next::Handshake);
                target::Input::DialedBack { conn, result: Ok(()) }
            }
            Next::Handshake => target::Input::Handshaken { conn, key: sample().cnf },
            Next::Go => return self.go(conn, link, session),
            Next::Resolve => {
                target::Input::Resolved { conn, addresses: Ok(vec!["10.0.0.9".parse().unwrap()]) }
            }
            Next::Dial(address) => target::Input::Dialed { conn, result: Ok(address) },
        };
        self.at_target(input);
    }

    /// What goes wrong, or comes when it should not.
    fn misstep(&mut self, conn: ConnId) -> target::Input {
        let host = ["10.0.0.9", "127.0.0.1", "::ffff:127.0.0.1"][self.random.index(3)];
        match self.random.below(11) {
            0 => target::Input::DialedBack { conn, result: Err("unreachable".into()) },
            1 => target::Input::Handshaken { conn, key: self.key.public().clone() },
            2 => target::Input::Handshaken { conn, key: sample().cnf },
            3 => target::Input::HandshakeFailed { conn, why: "closed".into() },
            4 => target::Input::Resolved { conn, addresses: Ok(vec![host.parse().unwrap()]) },
            5 => target::Input::Resolved { conn, addresses: Err("no such name".into()) },
            6 => target::Input::Dialed { conn, result: Err("refused".into()) },
            7 => target::Input::Dialed { conn, result: Ok("10.0.0.9:23".parse().unwrap()) },
            8 => self.unused(conn),
            9 => target::Input::OwnAddresses(vec![host.parse().unwrap()]),
            _ => target::Input::Go { conn, go: Go { session: Some(SessionId::new([0; 16])), connection: 0 } },
        }
    }

    /// The relay closed the dial-back, or claims so of a connection that goes on.
    fn unused(&mut self, conn: ConnId) -> target::Input {
        if matches!(self.connections[&conn].next, Next::DialBack | Next::Handshake) {
            self.connections.remove(&conn);
        }
        target::Input::Unused { conn }
    }

    fn go(&mut self, conn: ConnId, link: Link, session: Option<SessionId>) {
        let redeems = session.is_none();
        let refused = self.tally.refused;
        let before = self.redeemed.contains(&link.grant);
        self.target.handle_input(self.now, target::Input::Go { conn, go: Go { session, connection: 0 } });
        let outputs: Vec<_> = std::iter::from_fn(|| self.target.poll_output()).collect();
        let goes_on = |output: &target::Output| {
            matches!(output, target::Output::Dial { .. } | target::Output::Resolve { .. })
        };
        if redeems && outputs.iter().any(goes_on) {
            assert!(!before, "a grant is redeemed once");
            self.redeemed.insert(link.grant);
        }
        outputs.into_iter().for_each(|output| self.do_for_target(output));
        assert!(self.tally.refused <= refused + 1);
    }

    pub(super) fn end_something(&mut self) {
        let pairs = &self.pairs.iter().map(|pair| (*pair, ())).collect();
        let pair = self.random.pick(pairs).map(|(pair, ())| *pair);
        if let Some(pair) = pair {
            self.end_pair(pair);
        } else if let Some(conn) = self.waiting.pop_first() {
            self.at_relay(relay::Input::Gone { conn });
        }
        if let Some((&conn, _)) = self.random.pick(&self.connections) {
            self.connections.remove(&conn);
            self.at_target(target::Input::Ended { conn, end: END });
        }
    }

    /// Inputs about what does not exist, and messages that make no sense.
    pub(super) fn nonsense(&mut self) {
        let bytes = self.random.next().to_be_bytes();
        let (conn, pair) = (ConnId(self.random.next()), PairId(self.random.next()));
        let odd = |len: usize| bytes.repeat(4)[..len].to_vec().into();
        let len = self.random.index(24);
        let state = i32::try_from(self.random.below(7)).unwrap();
        let cookie = self.random.pick(&self.connections).map(|(_, link)| link.cookie.as_bytes().to_vec());
        let cookie = cookie.map_or(odd(len), Into::into);
        let claim = TunnelState { grant: odd(len), cookie, state, reason: String::new() };
        let stranger = klnet_wire::id::DeviceId::new([9; 16]);
        self.at_relay(relay::Input::State(claim, stranger));
        self.at_relay(relay::Input::Gone { conn });
        self.at_relay(relay::Input::Ended { pair, end: END });
        self.at_relay(relay::Input::Tunnels(Tunnels { grants: vec![odd(len)] }, stranger));
        self.at_relay(relay::Input::Revoke(Scope::Operator(OperatorId::new([9; 16]))));
        self.at_target(target::Input::Open(Open { grant: odd(len), cookie: odd(20), expires_ms: u32::MAX }));
        self.at_target(target::Input::Revoke(Revoke { grants: vec![odd(len)], reason: String::new() }));
        self.at_target(target::Input::Recorded(Recorded { cookie: odd(len) }));
        self.at_target(target::Input::HandshakeFailed { conn, why: String::new() });
        self.at_target(target::Input::Ended { conn, end: END });
    }

    pub(super) fn revoke(&mut self) {
        let Some(grant) = self.some_grant() else { return };
        self.at_relay(relay::Input::Revoke(Scope::Grant(grant)));
    }

    /// Another relay takes the place of this one, with every pair that counts.
    pub(super) fn hand_over(&mut self) {
        self.at_relay(relay::Input::Retire);
        for _ in 0..self.random.below(8) {
            self.deliver_to_relay();
        }
        self.wait(relay::RETIRE_WAIT);
        assert!(self.relay.is_decided());
        if self.online {
            self.disconnect();
        }
        assert!(self.waiting.is_empty(), "no socket waits for the old relay: {:?}", self.waiting);
        let live = self.relay.live_pairs(self.now);
        let kept: BTreeSet<_> = live.iter().map(|live| live.pair).collect();
        let cut: Vec<_> = self.pairs.difference(&kept).copied().collect();
        cut.into_iter().for_each(|pair| self.end_pair(pair));
        self.secret[31] += 1;
        let mut next = Relay::new(relay_config(self.secret));
        for live in live.clone() {
            assert!(next.adopt(self.now, live).is_some());
        }
        assert_eq!(next.live_pairs(self.now), live, "nothing of them is lost");
        self.tally.handed_over += live.len();
        self.relay = next;
    }

    fn some_grant(&mut self) -> Option<GrantId> {
        // Most of the time a fresh one: old ones are over.
        let recent = self.grants.len().saturating_sub(4);
        let from = if self.random.below(10) == 0 { 0 } else { recent };
        let grants = &self.grants[from..];
        (!grants.is_empty()).then(|| grants[self.random.index(grants.len())].id)
    }

    fn socket(&mut self) -> ConnId {
        self.next_conn += 1;
        self.waiting.insert(ConnId(self.next_conn));
        ConnId(self.next_conn)
    }
}

fn secret() -> LabelSecret {
    LabelSecret::new([3; 32])
}
