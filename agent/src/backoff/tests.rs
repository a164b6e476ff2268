use super::*;

const WINDOW: Duration = Duration::from_secs(30);

#[test]
fn the_first_dial_is_due_at_once() {
    let mut backoff = Backoff::new(Random::new(1));
    assert_eq!(backoff.poll_output(), Some(Output::Dial));
    assert_eq!(backoff.poll_output(), None);
    assert_eq!(backoff.poll_timeout(), None);
}

#[test]
fn a_thousand_agents_return_spread_over_the_window() {
    let start = Instant::now();
    let mut seconds = [0_u32; 31];
    for seed in 0..1000 {
        let mut backoff = connected(seed, start);
        backoff.handle_input(start + STABLE, Input::Ended);
        let delay = backoff.poll_timeout().unwrap() - (start + STABLE);
        seconds[usize::try_from(delay.as_secs()).unwrap()] += 1;
    }
    let busiest = *seconds.iter().max().unwrap();
    assert!(busiest < 70, "an even spread has 33 a second: {seconds:?}");
    assert!(seconds[..30].iter().all(|count| *count > 0), "{seconds:?}");
}

#[test]
fn a_thousand_agents_keep_apart_while_nothing_answers() {
    let start = Instant::now();
    let mut minutes = std::collections::BTreeMap::<u64, u32>::new();
    for seed in 0..1000 {
        for dial in dials(seed, start, Duration::from_secs(600)) {
            *minutes.entry(dial.as_secs()).or_default() += 1;
        }
    }
    // Full jitter below 60 s means one dial each half minute: 33 a second in the long run.
    let late: Vec<u32> = minutes.range(300..).map(|(_, count)| *count).collect();
    assert!(late.iter().all(|count| *count < 80), "{late:?}");
}

#[test]
fn delays_grow_to_a_minute_and_no_further() {
    let start = Instant::now();
    let mut backoff = Backoff::new(Random::new(3));
    let mut longest = Duration::ZERO;
    for failures in 1..200_u32 {
        backoff.handle_input(start, Input::Ended);
        let delay = backoff.poll_timeout().unwrap() - start;
        let doubled = FIRST_CEILING.saturating_mul(1 << failures.saturating_sub(1).min(20));
        assert!(delay <= doubled.min(LAST_CEILING), "{failures}: {delay:?}");
        longest = longest.max(delay);
    }
    assert!(longest > LAST_CEILING / 2);
}

#[test]
fn a_session_that_never_holds_does_not_reset_the_delays() {
    let start = Instant::now();
    let mut backoff = Backoff::new(Random::new(4));
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        backoff.handle_input(start, Input::Connected { window: Duration::ZERO });
        backoff.handle_input(start + Duration::from_secs(1), Input::Ended);
        longest = longest.max(backoff.poll_timeout().unwrap() - start);
    }
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_stable_session_makes_the_next_return_quick_again() {
    let start = Instant::now();
    let mut backoff = Backoff::new(Random::new(5));
    for _ in 0..10 {
        backoff.handle_input(start, Input::Ended);
    }
    backoff.handle_input(start, Input::Connected { window: Duration::from_millis(100) });
    backoff.handle_input(start + STABLE, Input::Ended);
    assert!(backoff.poll_timeout().unwrap() <= start + STABLE + Duration::from_millis(100));
}

#[test]
fn goaway_says_when_to_come_back() {
    let start = Instant::now();
    let latest = (0..100).map(|seed| {
        let mut backoff = connected(seed, start);
        backoff.handle_input(start, Input::GoAway { within: Duration::from_secs(200) });
        backoff.handle_input(start, Input::Ended);
        backoff.poll_timeout().unwrap() - start
    });
    let latest = latest.max().unwrap();
    assert!(latest > WINDOW && latest <= Duration::from_secs(200), "{latest:?}");
}

#[test]
fn a_goaway_over_and_over_does_not_make_a_tight_loop() {
    let start = Instant::now();
    let mut backoff = Backoff::new(Random::new(6));
    let mut total = Duration::ZERO;
    for _ in 0..20 {
        backoff.handle_input(start, Input::GoAway { within: Duration::ZERO });
        backoff.handle_input(start, Input::Ended);
        total += backoff.poll_timeout().unwrap() - start;
    }
    assert!(total > LAST_CEILING, "{total:?}");
}

#[test]
fn a_banned_agent_stops_for_good_and_says_why() {
    let start = Instant::now();
    let mut backoff = connected(7, start);
    backoff.handle_input(start, Input::Banned { reason: "the device was revoked".into() });
    backoff.handle_input(start, Input::Ended);
    assert_eq!(backoff.poll_output(), Some(Output::Stop { reason: "the device was revoked".into() }));
    assert_eq!((backoff.poll_output(), backoff.poll_timeout()), (None, None));
}

#[test]
fn an_absurd_window_is_held_to_an_hour() {
    let start = Instant::now();
    for seed in 0..50 {
        let mut backoff = Backoff::new(Random::new(seed));
        backoff.handle_input(start, Input::Connected { window: Duration::from_millis(u32::MAX.into()) });
        backoff.handle_input(start + STABLE, Input::Ended);
        assert!(backoff.poll_timeout().unwrap() <= start + STABLE + WINDOW_LIMIT);
    }
}

fn connected(seed: u64, now: Instant) -> Backoff {
    let mut backoff = Backoff::new(Random::new(seed));
    let _ = backoff.poll_output();
    backoff.handle_input(now, Input::Connected { window: WINDOW });
    backoff
}

/// When an agent dials within `span` after it lost its server and nothing answers, counted from then.
fn dials(seed: u64, start: Instant, span: Duration) -> Vec<Duration> {
    let mut backoff = connected(seed, start);
    let (mut now, mut dials) = (start + STABLE, Vec::new());
    backoff.handle_input(now, Input::Ended);
    while let Some(next) = backoff.poll_timeout().filter(|next| *next < start + STABLE + span) {
        now = next;
        backoff.handle_timeout(now);
        assert_eq!(backoff.poll_output(), Some(Output::Dial));
        dials.push(now - (start + STABLE));
        backoff.handle_input(now, Input::Ended);
    }
    dials
}
