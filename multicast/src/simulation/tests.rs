//! What has to hold whatever the network does.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::dice::Dice;
use crate::layout::Layout;

#[test]
fn a_loss_free_network_carries_the_object_once() {
    let outcome = Scenario::new(1, 40 * MIB, 8, 0.0).run();
    assert_all_have_it(&outcome);
    assert!(outcome.ratio <= 1.002, "{outcome:?}");
}

#[test]
fn a_thousand_receivers_at_five_percent_cost_two_percent_above_the_bound() {
    assert_near_the_bound(1000, scale(256, 1024) * MIB, 10.0);
}

#[test]
fn ten_thousand_receivers_cost_no_more() {
    assert_near_the_bound(scale(4000, 10_000), scale(32, 1024) * MIB, 20.0);
}

#[test]
fn eight_receivers_restore_what_was_sent_at_every_loss() {
    for (seed, loss) in [(3, 0.001), (4, 0.01), (5, 0.05), (6, 0.2)] {
        let outcome = Scenario::new(seed, 24 * MIB, 8, loss).run();
        assert_all_have_it(&outcome);
        let over = outcome.ratio * (1.0 - loss);
        assert!(over <= 1.012, "{loss}: {over} of the bound, {outcome:?}");
    }
}

#[test]
fn eight_receivers_whose_disks_are_slower_than_the_network_are_waited_for() {
    let mut scenario = Scenario::new(14, 160 * MIB, 8, 0.05);
    scenario.links.iter_mut().for_each(|link| link.disk = Some(30_000_000));
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    let over = outcome.ratio * 0.95;
    assert!(over <= 1.012, "{over} of the bound, {outcome:?}");
    let slowest = outcome.completed.iter().flatten().max().unwrap().as_secs_f64();
    let disk = (160 * MIB) as f64 / 30e6;
    assert!(slowest <= 1.2 * disk, "{slowest} s, the disk needs {disk} s");
}

#[test]
fn receivers_that_take_less_than_the_network_brings_are_not_overrun() {
    for (rate, buffer) in
        [(100_000_000, MIB), (300_000_000, 4 * MIB), (300_000_000, 16 * MIB), (600_000_000, 2 * MIB)]
    {
        let (over, slowest, least) = overrun(Intake { rate, buffer, tells: true });
        println!("{rate} {buffer}: {over:.4} of the bound, {slowest:.2} s, {least:.2} s at least");
        assert!(over <= 1.02, "{rate} {buffer}: {over} of the bound");
        assert!(slowest <= least / 0.9 + 0.5, "{rate} {buffer}: {slowest} s, {least} s at least");
    }
}

#[test]
fn receivers_that_do_not_know_what_waits_are_overrun() {
    let (over, slowest, least) = overrun(Intake { rate: 300_000_000, buffer: 4 * MIB, tells: false });
    println!("{over:.4} of the bound, {slowest:.2} s, {least:.2} s at least");
    assert!(over > 1.02 || slowest > least / 0.9 + 0.5, "{over} of the bound, {slowest} s");
}

/// Symbols sent for each of the bound, the seconds of the slowest, and those that it takes what was not lost.
fn overrun(intake: Intake) -> (f64, f64, f64) {
    let mut scenario = Scenario::new(18, 256 * MIB, 40, 0.05);
    scenario.links.iter_mut().for_each(|link| link.intake = Some(intake));
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    let slowest = outcome.completed.iter().flatten().max().unwrap().as_secs_f64();
    let least = outcome.symbols as f64 * 0.95 * 1440.0 * 8.0 / intake.rate as f64;
    (outcome.ratio * 0.95, slowest, least)
}

#[test]
fn receivers_that_a_switch_forgets_cost_little_before_they_join_again() {
    let mut scenario = Scenario::new(19, 160 * MIB, 8, 0.05);
    scenario.links[..3].iter_mut().for_each(|link| link.forgotten = Some(Duration::from_millis(900)));
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    let (over, block) = (outcome.ratio * 0.95, 4.0 / 160.0);
    println!("{over:.4} of the bound");
    // What was on its way when they heard nothing, at a gigabit a second.
    assert!(over <= 1.012 + 0.35 * 125e6 / (160 * MIB) as f64 + block, "{over} of the bound, {outcome:?}");
}

#[test]
fn bursts_that_kill_a_super_packet_are_repaired() {
    let mut scenario = Scenario::new(7, 24 * MIB, 4, 0.0);
    scenario.links.fill(Link { loss: Pattern::Bursts { share: 0.05, length: 44.0 }, ..Link::default() });
    assert_all_have_it(&scenario.run());
}

#[test]
fn an_object_of_any_size_arrives() {
    for length in [0, 1, 1408, 4096, MIB, 4 * MIB, 4 * MIB + 1] {
        assert_all_have_it(&Scenario::new(length, length, 3, 0.1).run());
    }
}

#[test]
fn a_late_receiver_gets_all_and_costs_the_others_nothing() {
    let mut scenario = Scenario::new(8, 64 * MIB, 40, 0.01);
    let alone = scenario.run();
    scenario.links[39].joins = Duration::from_millis(400);
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    let others = |outcome: &Outcome| outcome.completed[..39].iter().flatten().max().copied().unwrap();
    assert!(others(&outcome) < others(&alone).mul_f64(1.03), "{outcome:?}");
}

#[test]
fn a_bad_receiver_costs_the_others_next_to_nothing() {
    let bad = [
        Link { loss: Pattern::Independent(0.3), ..Link::default() },
        Link { limit: Some(10_000_000), ..Link::default() },
        Link { disk: Some(1_000_000), ..Link::default() },
    ];
    let good = |outcome: &Outcome| outcome.completed[..39].iter().flatten().max().copied().unwrap();
    for link in bad {
        let mut scenario = Scenario::new(9, 256 * MIB, 40, 0.01);
        let without = good(&scenario.run());
        scenario.links[39] = link.clone();
        scenario.end = Duration::from_secs(1200);
        let outcome = scenario.run();
        assert_all_have_it(&outcome);
        assert!(good(&outcome) <= without.mul_f64(1.03), "{link:?}: {:?} {without:?}", good(&outcome));
    }
}

#[test]
fn a_bad_receiver_of_four_costs_the_others_nothing_of_a_second() {
    let good = |outcome: &Outcome| outcome.completed[..3].iter().flatten().max().copied().unwrap();
    for seed in 0..8 {
        let mut scenario = Scenario::new(seed, 24 * MIB, 4, 0.0);
        scenario.sender.cap = 200_000_000;
        let without = good(&scenario.run());
        scenario.links[3].loss = Pattern::Independent(0.3);
        let outcome = scenario.run();
        assert_all_have_it(&outcome);
        println!("{:?} with it, {without:?} without", good(&outcome));
        assert!(good(&outcome) <= without.mul_f64(1.03), "{:?} {without:?}", good(&outcome));
    }
}

#[test]
fn what_a_medium_loses_slows_nobody_down_who_is_left_alone() {
    let mut late = Vec::new();
    for loss in [0.3, 0.35, 0.45] {
        for receivers in [4, 1] {
            let slowest = (0..2).map(|seed| left_alone(seed, receivers, loss)).max().unwrap().as_secs_f64();
            // Once for the others, and once for the one, which hears so much less.
            let least = (24 * MIB) as f64 * 8.0 / 200e6 * (1.0 + 1.0 / (1.0 - loss));
            println!("{loss} of {receivers}: {slowest:.2} s, {least:.2} s at least");
            late.extend((slowest > least + 1.5).then_some((loss, receivers, slowest)));
        }
    }
    assert!(late.is_empty(), "{late:?}");
}

/// When the last of the receivers is done, which alone loses.
fn left_alone(seed: u64, receivers: usize, loss: f64) -> Duration {
    let mut scenario = Scenario::new(seed, 24 * MIB, receivers, 0.0);
    scenario.sender.cap = 200_000_000;
    scenario.links[receivers - 1].loss = Pattern::Independent(loss);
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    outcome.completed[receivers - 1].unwrap()
}

#[test]
fn a_sender_that_stands_still_takes_little_longer_than_that() {
    for loss in [0.0, 0.05] {
        for receivers in [4, 40] {
            let (without, with) = (stalled(receivers, loss, 0), stalled(receivers, loss, 6));
            println!("{loss} of {receivers}: {with:?}, {without:?} without");
            assert!(with <= without + Duration::from_millis(4200 + 6 * 150), "{with:?} {without:?}");
        }
    }
}

/// When all are done with a sender that stands still so many times, for 0.4 s, 0.52 s and so on to 1 s.
fn stalled(receivers: usize, loss: f64, times: u32) -> Duration {
    let mut scenario = Scenario::new(20, 160 * MIB, receivers, loss);
    scenario.sender.cap = 200_000_000;
    let mut from = Duration::from_millis(200);
    for time in 0..times {
        let until = from + Duration::from_millis(400) + Duration::from_millis(120) * time;
        scenario.stalls.push((from, until));
        from = until + Duration::from_millis(300);
    }
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    outcome.completed.into_iter().flatten().max().unwrap()
}

#[test]
fn half_the_receivers_deaf_for_a_minute_complete_afterwards() {
    let mut scenario = Scenario::new(10, 64 * MIB, 40, 0.01);
    for link in &mut scenario.links[..20] {
        link.deaf = Some((Duration::from_millis(300), Duration::from_secs(60)));
    }
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    assert!(outcome.completed[20..].iter().flatten().all(|when| when.as_secs() < 10), "{outcome:?}");
}

#[test]
fn nothing_verified_is_sent_again_after_a_restart() {
    let mut scenario = Scenario::new(11, 64 * MIB, 40, 0.0);
    scenario.restarts = vec![(Duration::from_millis(700), Who::Sender)];
    let outcome = scenario.run();
    assert_all_have_it(&outcome);
    assert!(outcome.ratio < 1.12, "two blocks at most were on their way: {outcome:?}");
    scenario.restarts = vec![(Duration::from_millis(700), Who::Receiver(3))];
    assert_all_have_it(&scenario.run());
}

#[test]
fn a_member_that_forges_symbols_costs_at_most_as_many_bytes_again() {
    for (seed, length, loss) in [(15, 3 * MIB, 0.0), (16, 40 * MIB, 0.02), (17, 12 * MIB, 0.05)] {
        let mut scenario = Scenario::new(seed, length, 4, loss);
        // As many symbols as the sender's at the beginning.
        let (every, count) = (Duration::from_millis(1), 44);
        scenario.insider =
            Some(Insider { from: Duration::ZERO, until: Duration::from_secs(60), every, count });
        let outcome = scenario.run();
        assert!(outcome.completed.iter().all(Option::is_some), "{length}: {outcome:?}");
        assert!(outcome.wrong > 0, "it did harm");
        println!("{length}: {:.3} symbols for each, {} blocks spoilt", outcome.ratio, outcome.wrong);
        assert!(outcome.ratio <= 2.0 / (1.0 - loss), "{length}: {outcome:?}");
    }
}

#[test]
fn a_session_that_nobody_comes_to_ends() {
    let mut scenario = Scenario::new(12, MIB, 0, 0.0);
    scenario.sender.expect = None;
    let outcome = scenario.run();
    assert_eq!((outcome.symbols, outcome.ended.map(|end| end.as_secs())), (0, Some(5)));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || Scenario::new(13, 8 * MIB, 40, 0.05).run();
    assert_eq!(run(), run());
}

#[test]
fn many_seeds_complete() {
    let seeds = match std::env::var("KLNET_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("KLNET_SEED is a number"),
        Err(_) => 0..scale(60, 10_000),
    };
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                let seeds_left =
                    || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
                std::iter::from_fn(seeds_left).for_each(seed_completes);
            });
        }
    });
}

fn seed_completes(seed: u64) {
    let mut dice = Dice::new(seed);
    let receivers = 1 + usize::try_from(dice.bits() % 50).unwrap();
    let mut scenario = Scenario::new(seed, dice.bits() % (12 * MIB), receivers, 0.0);
    scenario.layout = Layout::new(2000, dice.bits() % (3 * MIB), 18, 1024).unwrap();
    for link in &mut scenario.links {
        *link = any_link(&mut dice);
    }
    if dice.bits().is_multiple_of(3) {
        let who = if dice.bits().is_multiple_of(2) { Who::Sender } else { Who::Receiver(0) };
        scenario.restarts.push((dice.within(Duration::from_millis(300)), who));
    }
    let outcome = scenario.run();
    assert!(
        outcome.completed.iter().all(Option::is_some) && outcome.wrong == 0,
        "KLNET_SEED={seed} does the same again: {outcome:?}"
    );
}

fn any_link(dice: &mut Dice) -> Link {
    let share = dice.share() * dice.share() * 0.4;
    let from = dice.within(Duration::from_millis(200));
    Link {
        loss: if dice.bits().is_multiple_of(2) {
            Pattern::Independent(share)
        } else {
            Pattern::Bursts { share, length: 1.0 + 60.0 * dice.share() }
        },
        limit: dice.bits().is_multiple_of(10).then_some(20_000_000),
        disk: dice.bits().is_multiple_of(4).then_some(5_000_000),
        joins: dice.within(Duration::from_millis(200)),
        deaf: dice.bits().is_multiple_of(4).then(|| (from, from + dice.within(Duration::from_secs(2)))),
        intake: dice.bits().is_multiple_of(6).then_some(Intake {
            rate: 50_000_000,
            buffer: 212_992,
            tells: true,
        }),
        forgotten: dice.bits().is_multiple_of(6).then(|| dice.within(Duration::from_secs(1))),
    }
}

/// At 5 % loss, with at most so many requests in a round.
fn assert_near_the_bound(receivers: usize, length: u64, requests: f64) {
    let outcome = Scenario::new(2, length, receivers, 0.05).run();
    assert_all_have_it(&outcome);
    let over = outcome.ratio * 0.95;
    println!("{receivers}: {over:.4} of the bound, {:.1} requests a round", outcome.requests_of_a_round);
    assert!(over <= 1.02, "{over} of the bound");
    assert!(outcome.requests_of_a_round <= requests, "{} requests", outcome.requests_of_a_round);
    let share = outcome.feedback_bytes as f64 / length as f64;
    assert!(share <= 0.01 * (receivers as f64 / 1000.0), "feedback is {share} of the bytes");
}

/// The short value usually, the long one with `KLNET_LONG=1`.
fn scale<T>(short: T, long: T) -> T {
    if std::env::var("KLNET_LONG").is_ok_and(|v| v == "1") { long } else { short }
}

fn assert_all_have_it(outcome: &Outcome) {
    assert!(outcome.completed.iter().all(Option::is_some), "{outcome:?}");
    assert_eq!(outcome.wrong, 0);
    assert!(outcome.ended.is_some(), "{outcome:?}");
}

const MIB: u64 = 1 << 20;
