//! Sweeps of a link where the kernel looks for the neighbours.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;

#[test]
fn every_neighbour_is_found_and_the_silent_are_asked_for_once() {
    let run = Link { alive: |host| host % 5 == 0, ..Link::default() }.sweep("10.1.0.0/22");
    assert_eq!((run.found, run.searches), (205, 1024));
    assert!((700..=768).contains(&run.crowd), "{} places of the kernel's table are used", run.crowd);
    // Three quarters at once, the rest once the kernel gives up the first, and a second question for the last.
    assert!(run.took < Duration::from_millis(4_500), "{:?}", run.took);
}

#[test]
fn of_the_questions_of_the_kernel_no_more_are_waited_for_than_the_loss_demands() {
    let link = Link { alive: |host| host % 5 == 0, ..Link::default() };
    assert!(link.sweep("10.1.0.0/24").took < Duration::from_millis(1_300));
    assert!(
        Link::default().sweep("10.1.0.0/24").took < Duration::from_millis(3_500),
        "nobody tells the loss"
    );
}

#[test]
fn who_answers_no_ping_is_found_and_tells_nothing_of_the_loss() {
    let run = Link { alive: |host| host % 5 == 0, deaf: true, ..Link::default() }.sweep("10.1.0.0/24");
    assert_eq!((run.found, run.loss), (52, None));
}

#[test]
fn who_answers_a_question_that_was_repeated_tells_nothing_of_the_round_trip() {
    let run = Link { alive: |host| host % 2 == 0, loss: 200, ..Link::default() }.sweep("10.1.0.0/24");
    assert!(run.rtt < Duration::from_secs(1), "{:?}", run.rtt);
}

#[test]
fn loss_costs_rounds_and_no_neighbours() {
    for loss in [50, 100, 200, 360] {
        let run = Link { alive: |host| host % 5 == 0, loss, ..Link::default() }.sweep("10.1.0.0/22");
        assert_eq!(run.found, 205, "{loss} permille");
        assert!(run.crowd <= 768);
    }
}

/// Hosts with numbers: the last two bytes of their addresses.
struct Link {
    alive: fn(u32) -> bool,
    /// No host answers ping.
    deaf: bool,
    loss: u64,
}

struct Run {
    found: usize,
    /// How often the kernel was made to look for somebody.
    searches: usize,
    /// For how many it looked at once, as far as a table that forgets nobody can tell.
    crowd: usize,
    took: Duration,
    loss: Option<f64>,
    /// The longest round trip.
    rtt: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self { alive: |_| false, deaf: false, loss: 0 }
    }
}

impl Link {
    fn sweep(&self, range: &str) -> Run {
        let (start, kernel) = (Instant::now(), Resolution::of_default(Duration::from_millis(4)));
        let plan = Plan::new(&[range.parse().unwrap()], &[]).unwrap();
        let config = Config { recall: 0.9999, patience: Profile::Max.patience(), key: 1, methods: 1 };
        let pacer = Pacer::new(start, kernel.pace(Profile::Max.pace())).within(Some(kernel.bound()));
        let mut sweep = Sweep::new(start, Arc::new(plan), config, pacer).through(kernel);
        let mut run =
            Run { found: 0, searches: 0, crowd: 0, took: Duration::ZERO, loss: None, rtt: Duration::ZERO };
        let (mut now, mut chance, mut flying, mut serial) = (start, 1_u64, BTreeMap::new(), 0_u32..);
        let (mut known, mut searched) = (HashSet::new(), HashMap::new());
        let mut arrives = || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) % 1000 >= self.loss
        };
        while let Some(deadline) = sweep.poll_timeout() {
            let arrival = flying.keys().next().map(|(at, _)| *at);
            now = now.max(arrival.map_or(deadline, |arrival: Instant| arrival.min(deadline)));
            while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= now) {
                sweep.handle_input(now, Input::Answered(0, entry.remove()));
            }
            sweep.handle_timeout(now);
            while let Some(output) = sweep.poll_output() {
                match output {
                    Output::Probe { target, attempt, .. } => {
                        let mut at = now;
                        if !known.contains(&target) {
                            let before = searched.insert(target, now);
                            let is_over =
                                before.is_none_or(|before: Instant| before + kernel.gives_up() <= now);
                            assert!(is_over, "the kernel still looks for {target}");
                            run.searches += 1;
                            let host = u32::try_from(crate::range::number(target) & 0xffff).unwrap();
                            let answered = (0..kernel.times).find(|_| (self.alive)(host) && arrives());
                            let Some(nth) = answered else { continue };
                            at += kernel.step() * u32::from(nth) + TRIP;
                            known.insert(target);
                            let found = Answer { kind: Kind::Arp, attempt: None, ..answer(target, attempt) };
                            flying.insert((at, serial.next()), found);
                        }
                        if !self.deaf && arrives() {
                            flying.insert((at + TRIP, serial.next()), answer(target, attempt));
                        }
                    }
                    Output::Found { rtt, .. } => {
                        run.found += 1;
                        run.rtt = run.rtt.max(rtt.unwrap_or_default());
                    }
                    Output::Over => run.took = now - start,
                }
            }
            sweep.handle_input(now, Input::Sent);
            let at_once = searched.values().filter(|at| **at + kernel.gives_up() > now).count();
            run.crowd = run.crowd.max(at_once);
        }
        run.loss = sweep.loss();
        run
    }
}

const TRIP: Duration = Duration::from_millis(1);
