use std::time::Duration;

use super::*;
use crate::subject::{Digest, Subject};
use crate::verdict::Reputation;

#[test]
fn a_thousand_who_ask_for_one_key_cause_one_request_and_are_answered_at_once() {
    let mut stage = Stage::new(Config::default());
    (0..1000).for_each(|waiter| stage.ask(1, waiter));
    assert_eq!(stage.sent(), [(1, 0, vec![key(1)])]);
    stage.answer(1, 0);
    let [Output::Done { outcome: Outcome::Said(verdict), waiters, .. }] = &stage.drain()[..] else {
        panic!()
    };
    assert_eq!(verdict.reputation, Reputation::Clean);
    assert_eq!(*waiters, (0..1000).collect::<Vec<_>>());
    assert_eq!(stage.proxy.poll_timeout(), None);
}

#[test]
fn the_first_key_is_sent_at_once_and_those_behind_it_together() {
    let mut stage = Stage::new(Config::default());
    (1..=5).for_each(|n| stage.ask(n, n.into()));
    assert_eq!(stage.sent(), [(1, 0, vec![key(1)])]);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.sent(), []);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.sent(), [(2, 0, (2..=5).map(key).collect::<Vec<_>>())]);
}

#[test]
fn a_full_batch_waits_for_nothing() {
    let mut stage = Stage::new(Config { batch: 2, ..Config::default() });
    (1..=5).for_each(|n| stage.ask(n, n.into()));
    assert_eq!(
        stage.sent(),
        [(1, 0, vec![key(1)]), (2, 0, vec![key(2), key(3)]), (3, 0, vec![key(4), key(5)])]
    );
}

#[test]
fn an_answer_sends_what_waited_for_it() {
    let mut stage = Stage::new(Config::default());
    stage.ask(1, 1);
    stage.ask(2, 2);
    assert_eq!(stage.sent().len(), 1);
    stage.answer(1, 0);
    assert_eq!(stage.sent(), [(2, 0, vec![key(2)])]);
}

#[test]
fn no_more_requests_are_under_way_than_the_window_has() {
    let mut stage = Stage::new(Config { batch: 1, window: 3, ..Config::default() });
    (1..=9).for_each(|n| stage.ask(n, n.into()));
    assert_eq!(stage.sent().len(), 3);
    stage.answer(1, 0);
    assert_eq!(stage.sent(), [(4, 0, vec![key(4)])]);
}

#[test]
fn a_refresh_wakes_nobody_and_whoever_asks_meanwhile_waits_for_it() {
    let mut stage = Stage::new(Config::default());
    stage.refresh(1);
    stage.refresh(1);
    stage.ask(1, 7);
    assert_eq!(stage.sent().len(), 1);
    stage.answer(1, 0);
    assert_eq!(stage.done(), [(key(1), "said", vec![7])]);
    stage.refresh(2);
    assert_eq!(stage.sent().len(), 1);
    stage.answer(2, 0);
    assert_eq!(stage.done(), [(key(2), "said", vec![])]);
}

#[test]
fn a_failed_request_goes_to_the_next_upstream() {
    let mut stage = Stage::new(Config { upstreams: 2, ..Config::default() });
    stage.ask(1, 1);
    assert_eq!(stage.sent(), [(1, 0, vec![key(1)])]);
    stage.fail(1, 0);
    assert_eq!(stage.sent(), [(1, 1, vec![key(1)])]);
    stage.answer(1, 1);
    assert_eq!(stage.done(), [(key(1), "said", vec![1])]);
}

#[test]
fn what_every_upstream_failed_is_unavailable_and_has_a_time_to_ask_again() {
    let mut stage = Stage::new(Config { upstreams: 2, ..Config::default() });
    stage.ask(1, 1);
    stage.fail(1, 0);
    stage.fail(1, 1);
    let outputs = stage.drain();
    let Some(Output::Done { outcome: Outcome::Failed(verdict), .. }) = outputs.last() else { panic!() };
    assert_eq!((verdict.reputation, verdict.ttl), (Reputation::Unavailable, Duration::from_secs(1)));
}

#[test]
fn a_request_without_an_answer_fails_in_time() {
    let mut stage = Stage::new(Config::default());
    stage.ask(1, 1);
    stage.pass(Duration::from_millis(899));
    assert_eq!(stage.done(), []);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.done(), [(key(1), "failed", vec![1])]);
}

#[test]
fn an_answer_of_another_length_is_a_failure() {
    let mut stage = Stage::new(Config::default());
    stage.ask(1, 1);
    stage.sent();
    stage.input(Input::Answered { batch: 1, upstream: 0, verdicts: vec![] });
    assert_eq!(stage.done(), [(key(1), "failed", vec![1])]);
    stage.input(Input::Answered { batch: 77, upstream: 0, verdicts: vec![] });
    stage.answer(1, 0);
    assert_eq!(stage.done(), [], "what comes afterwards is of no request");
}

#[test]
fn a_dead_upstream_is_left_alone_for_longer_and_longer_and_then_tried_with_one_request() {
    let mut stage = Stage::new(Config::default());
    (1..=3).for_each(|n| stage.ask_and_fail(n));
    stage.ask(9, 9);
    assert_eq!(stage.done(), [(key(9), "failed", vec![9])]);
    stage.refresh(9);
    assert_eq!(stage.drain(), [], "a refresh of what cannot be had is forgotten");
    for pause in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
        stage.pass(Duration::from_millis(pause - 1));
        stage.ask(9, 9);
        assert_eq!(stage.done(), [(key(9), "failed", vec![9])], "before {pause} ms");
        stage.pass(Duration::from_millis(1));
        stage.ask(10, 10);
        stage.ask(11, 11);
        let sent = stage.sent();
        assert_eq!(sent.len(), 1, "after {pause} ms");
        stage.fail(sent[0].0, 0);
        assert_eq!(stage.done().len(), 2);
    }
    stage.pass(Duration::from_secs(10));
    stage.ask(10, 10);
    let sent = stage.sent();
    stage.answer(sent[0].0, 0);
    stage.drain();
    (20..25).for_each(|n| stage.ask(n, n.into()));
    stage.pass(Duration::from_millis(2));
    assert_eq!(stage.sent().len(), 2, "it is asked as before");
}

#[test]
fn an_upstream_that_is_back_after_an_hour_is_asked_within_seconds() {
    let mut stage = Stage::new(Config::default());
    let mut requests = 0;
    for _ in 0..3600 {
        stage.ask(1, 1);
        for (batch, upstream, _) in stage.sent() {
            stage.fail(batch, upstream);
            requests += 1;
        }
        stage.pass(Duration::from_secs(1));
        assert!(stage.done().iter().all(|(_, outcome, _)| *outcome == "failed"));
        assert_eq!((stage.proxy.under_way(), stage.proxy.waiters), (0, 0), "nothing gathers");
    }
    assert!(requests < 400, "{requests} requests in an hour to who is dead");
    let back = stage.now;
    while stage.done().iter().all(|(_, outcome, _)| *outcome != "said") {
        stage.ask(1, 1);
        for (batch, upstream, _) in stage.sent() {
            stage.answer(batch, upstream);
        }
        stage.pass(Duration::from_millis(100));
    }
    assert!(stage.now - back <= Duration::from_secs(11), "{:?}", stage.now - back);
}

#[test]
fn the_second_upstream_is_asked_when_the_first_is_slower_than_it_mostly_is() {
    let mut stage = Stage::new(Config { upstreams: 2, ..Config::default() });
    for n in 1..=50 {
        stage.ask(n, 0);
        let sent = stage.sent();
        stage.pass(Duration::from_millis(5));
        stage.answer(sent[0].0, 0);
        stage.drain();
    }
    stage.ask(60, 60);
    assert_eq!(stage.sent(), [(51, 0, vec![key(60)])]);
    stage.pass(Duration::from_millis(60));
    assert_eq!(stage.sent(), [(51, 1, vec![key(60)])]);
    stage.answer(51, 1);
    assert_eq!(stage.done(), [(key(60), "said", vec![60])]);
    stage.answer(51, 0);
    assert_eq!(stage.drain(), []);
}

#[test]
fn an_upstream_that_is_always_slow_is_not_asked_twice_as_often() {
    let mut stage = Stage::new(Config { upstreams: 2, batch: 1, ..Config::default() });
    let mut requests = 0;
    for n in 1..=100 {
        stage.ask(n, 0);
        stage.pass(Duration::from_millis(800));
        let sent = stage.sent();
        requests += sent.len();
        stage.answer(sent[0].0, 0);
        stage.drain();
    }
    assert!((100..=115).contains(&requests), "{requests}");
}

#[test]
fn who_waits_too_long_is_told_so_and_the_verdict_is_kept_when_it_comes() {
    let patience = Duration::from_millis(300);
    let mut stage = Stage::new(Config { patience, ..Config::default() });
    stage.ask(1, 1);
    stage.pass(patience);
    assert_eq!(stage.done(), [(key(1), "late", vec![1])]);
    stage.answer(1, 0);
    assert_eq!(stage.done(), [(key(1), "said", vec![])]);
}

#[test]
fn patience_is_that_of_the_second_time_a_key_is_asked_for() {
    let mut stage = Stage::new(Config { upstreams: 1, window: 8, ..Config::default() });
    stage.ask(1, 1);
    stage.ask(2, 2);
    stage.pass(Duration::from_millis(2));
    stage.answer(2, 0);
    stage.ask(2, 3);
    stage.drain();
    stage.pass(Duration::from_millis(897));
    stage.drain();
    assert!(stage.proxy.under_way() > 0);
}

#[test]
fn above_its_limits_a_proxy_turns_away_and_forgets_nobody() {
    let mut stage = Stage::new(Config { keys: 10, waiters: 20, ..Config::default() });
    (0..100).for_each(|n| stage.ask(n % 50, n.into()));
    let full = stage.done().iter().filter(|(_, outcome, _)| *outcome == "full").count();
    assert_eq!(full, 80);
    assert_eq!(stage.proxy.under_way(), 10);
    stage.pass(Duration::from_secs(2));
    let rest: usize = stage.done().iter().map(|(_, _, waiters)| waiters.len()).sum();
    assert_eq!(rest, 20);
    assert_eq!((stage.proxy.under_way(), stage.proxy.waiters), (0, 0));
}

#[test]
fn everyone_is_answered_once_whatever_upstreams_do() {
    for seed in 1..200 {
        let mut stage =
            Stage::new(Config { upstreams: 3, batch: 4, window: 2, keys: 30, ..Config::default() });
        let mut random = seed;
        let (mut answered, mut asked) = (Vec::new(), 0);
        for _ in 0..400 {
            match draw(&mut random, 10) {
                0..4 => {
                    stage.ask(u8::try_from(draw(&mut random, 40)).unwrap(), asked);
                    asked += 1;
                }
                4 => stage.refresh(u8::try_from(draw(&mut random, 40)).unwrap()),
                5 => stage.pass(Duration::from_millis(draw(&mut random, 900))),
                n => {
                    let batch = draw(&mut random, stage.proxy.next_batch + 1);
                    let upstream = usize::try_from(draw(&mut random, 3)).unwrap();
                    if n == 6 { stage.fail(batch, upstream) } else { stage.answer(batch, upstream) }
                }
            }
            answered.extend(stage.done().into_iter().flat_map(|(_, _, waiters)| waiters));
        }
        stage.pass(Duration::from_secs(3));
        stage.pass(Duration::from_secs(3));
        answered.extend(stage.done().into_iter().flat_map(|(_, _, waiters)| waiters));
        answered.sort_unstable();
        assert_eq!(answered, (0..asked).collect::<Vec<_>>(), "seed {seed}");
        assert!(stage.proxy.upstreams.iter().all(|upstream| upstream.under_way == 0), "seed {seed}");
        assert_eq!(stage.proxy.poll_timeout(), None, "seed {seed}");
    }
}

/// A core in virtual time.
struct Stage {
    proxy: Proxy<u64>,
    now: Instant,
    /// The keys of every request that was sent.
    requests: HashMap<u64, usize>,
    outputs: Vec<Output<u64>>,
}

impl Stage {
    fn new(config: Config) -> Self {
        Self { proxy: Proxy::new(config), now: Instant::now(), requests: HashMap::new(), outputs: Vec::new() }
    }

    fn input(&mut self, input: Input<u64>) {
        self.proxy.handle_input(self.now, input);
        self.collect();
    }

    fn ask(&mut self, n: u8, waiter: u64) {
        self.input(Input::Ask(key(n), Some(waiter)));
    }

    fn refresh(&mut self, n: u8) {
        self.input(Input::Ask(key(n), None));
    }

    fn ask_and_fail(&mut self, n: u8) {
        self.ask(n, n.into());
        let sent = self.sent();
        self.fail(sent[0].0, sent[0].1);
        self.drain();
    }

    fn answer(&mut self, batch: u64, upstream: usize) {
        let clean = Verdict { reputation: Reputation::Clean, ..Verdict::unknown(Duration::from_secs(60)) };
        let verdicts = vec![clean; self.requests.get(&batch).copied().unwrap_or(0)];
        self.input(Input::Answered { batch, upstream, verdicts });
    }

    fn fail(&mut self, batch: u64, upstream: usize) {
        self.input(Input::Failed { batch, upstream });
    }

    /// Lets time pass, and everything be done when it is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.proxy.poll_timeout().filter(|due| *due <= end) {
            assert!(due > self.now || self.proxy.poll_output().is_none());
            self.now = self.now.max(due);
            self.proxy.handle_timeout(self.now);
            self.collect();
            assert!(self.proxy.poll_timeout().is_none_or(|next| next > self.now), "nothing is due twice");
        }
        self.now = end;
        self.proxy.handle_timeout(end);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.proxy.poll_output() {
            if let Output::Send { batch, keys, .. } = &output {
                self.requests.insert(*batch, keys.len());
            }
            self.outputs.push(output);
        }
    }

    fn drain(&mut self) -> Vec<Output<u64>> {
        std::mem::take(&mut self.outputs)
    }

    /// The requests since the last call; everything else stays.
    fn sent(&mut self) -> Vec<(u64, usize, Vec<Key>)> {
        let (sent, rest) = self.drain().into_iter().partition(|output| matches!(output, Output::Send { .. }));
        self.outputs = rest;
        let request = |output| match output {
            Output::Send { batch, upstream, keys } => Some((batch, upstream, keys.to_vec())),
            Output::Done { .. } => None,
        };
        Vec::into_iter(sent).filter_map(request).collect()
    }

    /// What was done since the last call; requests stay.
    fn done(&mut self) -> Vec<(Key, &'static str, Vec<u64>)> {
        let (done, rest) = self.drain().into_iter().partition(|output| matches!(output, Output::Done { .. }));
        self.outputs = rest;
        let told = |output| match output {
            Output::Done { key, outcome, waiters } => Some((key, word(outcome), waiters)),
            Output::Send { .. } => None,
        };
        Vec::into_iter(done).filter_map(told).collect()
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Said(_) => "said",
        Outcome::Failed(_) => "failed",
        Outcome::Late(_) => "late",
        Outcome::Full(_) => "full",
    }
}

fn key(n: u8) -> Key {
    Subject::File(Digest::Sha256([n; 32]), None).key()
}

/// A number below `limit` (xorshift).
fn draw(state: &mut u64, limit: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % limit
}
