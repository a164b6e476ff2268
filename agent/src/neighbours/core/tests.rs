use std::collections::BTreeSet;
use std::time::SystemTime;

use klnet_wire::id::{Id, TenantId};
use klnet_wire::identity::Role;
use klnet_wire::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use klnet_wire::identity::crl::Crl;
use klnet_wire::signing::SigningKey;

use super::*;

#[test]
fn agents_of_a_network_find_each_other_and_lose_who_is_gone() {
    let mut lan = Lan::new(3);
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.found(), [[1, 2].into(), [0, 2].into(), [0, 1].into()]);
    lan.silence(1);
    lan.run(3 * EVERY_MIN + 2 * BEACON_WINDOW + EVERY_MIN * 2);
    assert_eq!(lan.found(), [[2].into(), [0, 2].into(), [0].into()], "the silent one still hears");
}

#[test]
fn no_agent_says_more_than_one_packet_a_second_and_a_crowd_not_much_more_together() {
    let mut lan = Lan::new(24);
    let counted = lan.run(Duration::from_secs(300));
    let worst = counted.values().flat_map(|sent| sent.windows(2).map(|pair| pair[1] - pair[0])).min();
    assert!(worst >= Some(APART), "{worst:?}");
    // At the start nobody knows yet how many there are.
    let late = counted.values().flatten().filter(|at| **at >= lan.start + Duration::from_secs(100));
    let each_second = late.count() as f64 / 200.0;
    assert!(each_second <= 1.2, "{each_second}");
    assert!(lan.found().iter().all(|found| found.len() == 23));
}

#[test]
fn a_network_that_is_switched_on_at_once_does_not_say_everything_at_once() {
    let mut lan = Lan::new(30);
    let counted = lan.run(Duration::from_secs(10));
    let sent = counted.values().flatten().count();
    assert!(sent < 30, "without a second thought each would have said both: {sent}");
}

#[test]
fn nothing_is_ever_answered() {
    let mut lan = Lan::new(2);
    let said = lan.beacon(0, lan.wall());
    lan.hear(1, 0, &said).unwrap();
    let outputs: Vec<_> = std::iter::from_fn(|| lan.agents[1].poll_output()).collect();
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|output| !matches!(output, Output::Send(..))), "{outputs:?}");
    for bytes in [&said[1..], b"", b"who is there?"] {
        assert!(lan.hear(1, 9, bytes).is_err());
        assert_eq!(lan.agents[1].poll_output(), None);
    }
}

#[test]
fn a_copy_is_heard_once_however_often_it_is_sent_and_however_late() {
    let mut lan = Lan::new(2);
    let said = lan.beacon(0, lan.wall());
    assert_eq!(lan.hear(1, 0, &said), Ok(()));
    // For as long as its time is right the device is remembered.
    for seconds in 0..600 {
        lan.now += Duration::from_secs(1);
        let wall = lan.wall();
        lan.agents[1].handle_timeout(lan.now, wall);
        assert!(lan.hear(1, 0, &said).is_err(), "after {seconds} s");
    }
    assert_eq!(lan.found()[1], BTreeSet::new());
}

#[test]
fn an_agent_does_not_hear_itself() {
    let mut lan = Lan::new(1);
    let said = lan.beacon(0, lan.wall());
    assert_eq!(lan.hear(0, 0, &said), Err(Unheard::Own));
}

#[test]
fn a_flood_of_forgeries_costs_a_bounded_number_of_signatures_and_the_known_stay() {
    let mut lan = Lan::new(2);
    let said = lan.beacon(0, lan.wall());
    lan.hear(1, 0, &said).unwrap();
    let mut forged = lan.beacon(0, UnixTime::since_unix_epoch(Duration::from_secs(lan.wall().as_secs() + 5)));
    // The signature is the last field of the first message: its bytes stand before the certificates.
    let at = forged.len() - lan.certificates(0) - 40;
    forged[at] ^= 1;
    let refused: Vec<_> = (0..1000).map(|_| lan.hear(1, 0, &forged).unwrap_err()).collect();
    let checked = refused.iter().filter(|reason| matches!(reason, Unheard::Refused(_))).count();
    assert_eq!(checked, usize::try_from(BURST).unwrap() - 1);
    assert!(refused[checked..].iter().all(|reason| *reason == Unheard::Busy));
    assert_eq!(lan.found()[1], [0].into());
    lan.now += EACH;
    let genuine = lan.beacon(0, lan.wall());
    assert_eq!(lan.hear(1, 0, &genuine), Ok(()));
}

#[test]
fn a_clock_that_was_set_back_is_believed() {
    let mut lan = Lan::new(1);
    let principal = lan.agents[0].speaker.principal.clone();
    let sent = |bytes: &[u8], wall| Beacon::open(bytes, &principal, address(0), wall).unwrap().presence.sent;
    let (late, early) = (lan.wall(), UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)));
    let own = Own { interface: 2, address: address(0) };
    let agent = &mut lan.agents[0];
    agent.say(own, late);
    agent.say(own, late);
    agent.say(own, early);
    let said: Vec<_> = std::iter::from_fn(|| agent.poll_output()).collect();
    let [Output::Send(_, first), Output::Send(_, second), Output::Send(_, third)] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!((sent(first, late), sent(second, late)), (late.as_secs(), late.as_secs() + 1));
    assert_eq!(sent(third, early), early.as_secs());
}

#[test]
fn what_a_neighbour_calls_itself_acts_on_nothing() {
    let mut lan = Lan::new(2);
    lan.agents[0].speaker.name = "\u{1b}[2Jweb".to_owned();
    let said = lan.beacon(0, lan.wall());
    lan.hear(1, 0, &said).unwrap();
    assert_eq!(lan.agents[1].known.values().next().unwrap().name, "\u{fffd}[2Jweb");
}

/// Agents on one link, each of which hears whatever another says at once.
struct Lan {
    agents: Vec<Neighbourhood>,
    silent: BTreeSet<usize>,
    start: Instant,
    now: Instant,
    wall: u64,
}

impl Lan {
    fn new(agents: usize) -> Self {
        let (root, made, start) = (SigningKey::generate_p256(), SystemTime::now(), Instant::now());
        let trust = make_root(&root, made).unwrap();
        let authority = Authority::make(trust.clone(), &root, SigningKey::generate_p256(), made).unwrap();
        let list = authority.revoke(1, &[], made, Duration::from_secs(86_400)).unwrap();
        let crls = Arc::new(Crls::default());
        assert!(crls.take(Crl::verify(&list, [authority.key().public().clone()]).unwrap()).is_ok());
        let (fabric, tenant, role) = (trust.fabric(), TenantId::random(), Role::Agent);
        let agent = |n: usize| {
            let id = *Id::<()>::new([u8::try_from(n).unwrap(); 16]).as_bytes();
            let principal = Principal { fabric, tenant, role, id, serial: Vec::new() };
            let key = SigningKey::generate_p256();
            let leaf = Leaf::new(principal.clone(), Vec::new(), made, AGENT_LIFE);
            let identity = Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key };
            let (trust, crls, name) = (trust.clone(), Arc::clone(&crls), format!("pc-{n}"));
            let speaker = Speaker { principal, identity, trust, crls, name };
            let mut agent = Neighbourhood::new(start, speaker, Random::new(n as u64));
            agent.present([4, 6].map(|family| Own { interface: family, address: address(n) }));
            agent
        };
        let wall = made.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self { agents: (0..agents).map(agent).collect(), silent: BTreeSet::new(), start, now: start, wall }
    }

    fn wall(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.wall + (self.now - self.start).as_secs()))
    }

    /// When each has sent, in this time.
    fn run(&mut self, time: Duration) -> BTreeMap<usize, Vec<Instant>> {
        let (end, mut sent) = (self.now + time, BTreeMap::<_, Vec<_>>::new());
        loop {
            let next = self.agents.iter().map(Neighbourhood::poll_timeout).min().unwrap();
            if next > end {
                self.now = end;
                return sent;
            }
            self.now = self.now.max(next);
            for n in 0..self.agents.len() {
                let wall = self.wall();
                self.agents[n].handle_timeout(self.now, wall);
                while let Some(output) = self.agents[n].poll_output() {
                    let Output::Send(own, bytes) = output else { continue };
                    if !self.silent.contains(&n) {
                        sent.entry(n).or_default().push(self.now);
                        self.deliver(n, own.address, &bytes);
                    }
                }
            }
        }
    }

    /// `n` hears this from the address of `from`.
    fn hear(&mut self, n: usize, from: usize, bytes: &[u8]) -> Result<(), Unheard> {
        let (now, wall) = (self.now, self.wall());
        self.agents[n].handle_input(now, wall, address(from), bytes)
    }

    fn deliver(&mut self, from: usize, address: IpAddr, bytes: &[u8]) {
        let (now, wall) = (self.now, self.wall());
        for (_, agent) in self.agents.iter_mut().enumerate().filter(|(n, _)| *n != from) {
            agent.handle_input(now, wall, address, bytes).unwrap();
        }
    }

    fn silence(&mut self, n: usize) {
        self.silent.insert(n);
    }

    fn found(&self) -> Vec<BTreeSet<usize>> {
        let number = |device: &DeviceId| usize::from(device.as_bytes()[0]);
        self.agents.iter().map(|agent| agent.known.keys().map(number).collect()).collect()
    }

    /// What `n` would say now, by a clock that says `wall`.
    fn beacon(&self, n: usize, wall: UnixTime) -> Vec<u8> {
        let speaker = &self.agents[n].speaker;
        let (sent, address, every, name) = (wall.as_secs(), address(n), EVERY_MIN, speaker.name.clone());
        Beacon::seal(&speaker.identity, &Presence { sent, address, every, name }).unwrap()
    }

    /// How many bytes of a beacon its certificates are, with their tags and lengths.
    fn certificates(&self, n: usize) -> usize {
        self.agents[n].speaker.identity.chain.iter().take(2).map(|one| one.len() + 3).sum()
    }
}

fn address(n: usize) -> IpAddr {
    [10, 0, 0, u8::try_from(n + 1).unwrap()].into()
}
