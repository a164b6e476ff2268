//! Sweeps of simulated networks in virtual time.

mod by_kernel;

use super::*;
use crate::profile::Profile;

#[test]
fn every_host_is_found_and_nobody_is_asked_after_an_answer_but_for_the_sample() {
    let network = Network { alive: |host| host % 5 == 0, ..Network::default() };
    let run = network.sweep("10.1.0.0/20", Profile::Lan);
    assert_eq!(run.found.len(), 4096_usize.div_ceil(5));
    // A round to all and one to the silent, and no more than the sample beside them.
    assert!((4096 + 3276..4096 + 3276 + 65).contains(&run.probes), "{} probes", run.probes);
}

#[test]
fn lost_packets_cost_rounds_and_no_hosts() {
    for (permille, rounds) in [(50, 4), (200, 6)] {
        let network = Network { alive: |host| host % 5 == 0, loss: permille, ..Network::default() };
        let run = network.sweep("10.1.0.0/18", Profile::Max);
        let alive = 16_384_usize.div_ceil(5);
        assert!(run.found.len() * 10_000 >= alive * 9_990, "{} of {alive} at {permille}", run.found.len());
        assert!(run.rounds.abs_diff(rounds) <= 1, "{} rounds at {permille} permille", run.rounds);
    }
}

#[test]
fn a_network_without_hosts_is_over_in_time() {
    let run = Network { alive: |_| false, ..Network::default() }.sweep("10.1.0.0/24", Profile::Polite);
    assert_eq!((run.found.len(), run.probes, run.rounds), (0, 3 * 256, 3));
    assert!(run.took < Duration::from_secs(5), "{:?}", run.took);
}

#[test]
fn a_sweep_of_answering_hosts_alone_does_not_wait() {
    let run = Network { alive: |_| true, ..Network::default() }.sweep("10.1.0.0/24", Profile::Lan);
    assert_eq!(run.found.len(), 256);
    assert!(run.took < Duration::from_millis(100), "{:?}", run.took);
}

#[test]
fn a_slow_host_among_fast_ones_is_waited_for() {
    let network = Network {
        alive: |host| host % 4 == 0,
        delay: |host| Duration::from_millis(if host == 252 { 900 } else { 1 }),
        ..Network::default()
    };
    assert_eq!(network.sweep("10.1.0.0/24", Profile::Polite).found.len(), 64);
}

#[test]
fn a_polite_sweep_of_a_20_takes_little_more_than_its_packets() {
    let network = Network { alive: |host| host % 5 == 0, ..Network::default() };
    let run = network.sweep("10.1.0.0/20", Profile::Polite);
    // 7,437 packets at 1,900 a second, and the second that a slow host may take is over by then.
    assert!(run.took < Duration::from_millis(4_000), "{:?}", run.took);
}

#[test]
fn the_polite_profile_keeps_20_packets_in_10_ms_from_round_to_round() {
    let network = Network { alive: |host| host % 7 == 0, loss: 100, ..Network::default() };
    let run = network.sweep("10.1.0.0/22", Profile::Polite);
    assert!(run.crowd <= 20, "{} packets in 10 ms", run.crowd);
}

#[test]
fn who_answers_to_the_last_method_alone_waits_for_packets_and_for_no_silence() {
    let network = Network { alive: |host| host % 5 == 0, method: |_| 2, methods: 3, ..Network::default() };
    let run = network.sweep("10.1.0.0/24", Profile::Polite);
    assert_eq!(run.found.len(), 52);
    // 768 packets at 1,900 a second.
    assert!(run.last_found < Duration::from_millis(420), "{:?}", run.last_found);
    assert!(run.took < Duration::from_millis(1_800), "{:?}", run.took);
    assert!(run.crowd <= 20, "{} packets in 10 ms", run.crowd);
}

#[test]
fn who_answers_to_one_method_is_asked_by_no_other_where_answers_are_fast() {
    let network = Network { alive: |host| host % 5 == 0, methods: 2, ..Network::default() };
    let run = network.sweep("10.1.0.0/20", Profile::Lan);
    assert_eq!(run.found.len(), 4096_usize.div_ceil(5));
    // A turn of all and three of the silent, and no more than the sample beside them.
    assert!((4096 + 3 * 3276..4096 + 3 * 3276 + 65).contains(&run.probes), "{} probes", run.probes);
}

#[test]
fn a_network_without_hosts_takes_no_longer_for_being_asked_in_three_ways() {
    let network = Network { methods: 3, ..Network::default() };
    let run = network.sweep("10.1.0.0/24", Profile::Polite);
    assert_eq!((run.found.len(), run.probes, run.rounds), (0, 3 * 3 * 256, 3));
    assert!(run.took < Duration::from_secs(5), "{:?}", run.took);
}

#[test]
fn lost_packets_cost_rounds_and_no_hosts_whatever_they_answer_to() {
    let network = Network {
        alive: |host| host % 5 == 0,
        method: |host| u16::try_from(host % 3).unwrap(),
        methods: 3,
        loss: 200,
        ..Network::default()
    };
    let run = network.sweep("10.1.0.0/18", Profile::Max);
    let alive = 16_384_usize.div_ceil(5);
    assert!(run.found.len() * 10_000 >= alive * 9_990, "{} of {alive}", run.found.len());
    assert!(run.rounds.abs_diff(6) <= 1, "{} rounds", run.rounds);
}

#[test]
fn an_answer_from_outside_the_plan_is_nobodys() {
    let mut sweep = sweep("10.1.0.0/30", Profile::Lan, Instant::now());
    sweep.handle_input(Instant::now(), Input::Answered(0, answer([10, 2, 0, 1].into(), 1)));
    assert_eq!(sweep.poll_output(), None);
}

#[test]
fn an_address_without_a_way_is_asked_once() {
    let (mut now, mut probes) = (Instant::now(), 0);
    let mut sweep = sweep("10.1.0.0/30", Profile::Lan, now);
    while let Some(deadline) = sweep.poll_timeout() {
        now = now.max(deadline);
        sweep.handle_timeout(now);
        while let Some(output) = sweep.poll_output() {
            let Output::Probe { target, .. } = output else { continue };
            probes += 1;
            sweep.handle_input(now, Input::Refused(target));
        }
    }
    assert_eq!(probes, 4);
}

#[test]
fn congestion_slows_the_sweep_down() {
    let run = |congested: bool| {
        let mut network = Network { alive: |_| false, ..Network::default() };
        network.congested = congested;
        network.sweep("10.1.0.0/22", Profile::Lan).took
    };
    assert!(run(true) > run(false) + Duration::from_millis(100));
}

/// A network of hosts with numbers: the last two bytes of their addresses.
struct Network {
    alive: fn(u32) -> bool,
    delay: fn(u32) -> Duration,
    /// Which method a host answers to, of how many.
    method: fn(u32) -> u16,
    methods: u16,
    loss: u64,
    congested: bool,
}

struct Run {
    found: Vec<IpAddr>,
    probes: usize,
    rounds: u8,
    took: Duration,
    last_found: Duration,
    /// The most packets in any 10 ms.
    crowd: usize,
}

impl Default for Network {
    fn default() -> Self {
        let (delay, method) = (|_| Duration::from_millis(1), |_| 0);
        Self { alive: |_| false, delay, method, methods: 1, loss: 0, congested: false }
    }
}

impl Network {
    fn sweep(&self, range: &str, profile: Profile) -> Run {
        let start = Instant::now();
        let (mut sweep, mut now, mut chance) = (sweep_by(self.methods, range, profile, start), start, 1_u64);
        let (took, last_found) = (Duration::ZERO, Duration::ZERO);
        let mut run = Run { found: vec![], probes: 0, rounds: 0, took, last_found, crowd: 0 };
        let (mut sent, mut flying) = (VecDeque::new(), std::collections::BTreeMap::new());
        while let Some(deadline) = sweep.poll_timeout() {
            let arrival = flying.keys().next().map(|(at, _)| *at);
            now = now.max(arrival.map_or(deadline, |arrival: Instant| arrival.min(deadline)));
            while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= now) {
                let (method, answer) = entry.remove();
                sweep.handle_input(now, Input::Answered(method, answer));
            }
            sweep.handle_timeout(now);
            run.rounds = sweep.progress().round;
            while let Some(output) = sweep.poll_output() {
                match output {
                    Output::Probe { method, target, attempt } => {
                        run.probes += 1;
                        sent.push_back(now);
                        let host = u32::try_from(crate::range::number(target) & 0xffff).unwrap();
                        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let answers = (self.alive)(host) && (self.method)(host) == method;
                        if answers && (chance >> 33) % 1000 >= self.loss {
                            let at = now + (self.delay)(host);
                            flying.insert((at, run.probes), (method, answer(target, attempt)));
                        }
                        if self.congested {
                            sweep.handle_input(now, Input::Congested);
                        }
                    }
                    Output::Found { answer, .. } => {
                        run.found.push(answer.from);
                        run.last_found = now - start;
                    }
                    Output::Over => run.took = now - start,
                }
            }
            sweep.handle_input(now, Input::Sent);
            while sent.front().is_some_and(|at| *at + Duration::from_millis(10) <= now) {
                sent.pop_front();
            }
            run.crowd = run.crowd.max(sent.len());
        }
        run
    }
}

fn sweep(range: &str, profile: Profile, now: Instant) -> Sweep {
    sweep_by(1, range, profile, now)
}

fn sweep_by(methods: u16, range: &str, profile: Profile, now: Instant) -> Sweep {
    let plan = Plan::new(&[range.parse().unwrap()], &[]).unwrap();
    let config = Config { recall: 0.9999, patience: profile.patience(), key: 1, methods };
    Sweep::new(now, Arc::new(plan), config, Pacer::new(now, profile.pace()))
}

fn answer(from: IpAddr, attempt: u16) -> Answer {
    Answer { from, attempt: Some(attempt), kind: Kind::Echo, mac: None, hops: Some(64) }
}
