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
fn delays_grow_with_the_outage_to_a_minute_and_no_further() {
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    for seed in 0..50 {
        let mut backoff = Backoff::new(Random::new(seed));
        let mut now = start;
        while now < start + Duration::from_secs(600) {
            let delay = fail(&mut backoff, now);
            assert!(delay <= ((now - start) / 2).clamp(FIRST_CEILING, LAST_CEILING), "{delay:?}");
            longest = longest.max(delay);
            now += delay;
        }
    }
    assert!(longest > LAST_CEILING / 2);
}

#[test]
fn a_fleet_is_back_soon_after_its_server_however_long_that_took() {
    let (start, window) = (Instant::now(), Duration::from_secs(2));
    for away in [0, 1, 3, 5, 9].map(Duration::from_secs) {
        let latest = (0..1000).map(|seed| back_after(seed, start, window, away)).max().unwrap();
        assert!(latest < Duration::from_secs(5), "away for {away:?}: the last is back after {latest:?}");
    }
}

#[test]
fn a_session_that_never_holds_does_not_reset_the_delays() {
    let mut now = Instant::now();
    let mut backoff = Backoff::new(Random::new(4));
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        backoff.handle_input(now, Input::Connected { window: Duration::ZERO });
        now += Duration::from_secs(1);
        let delay = fail(&mut backoff, now);
        longest = longest.max(delay);
        now += delay;
    }
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_device_whose_address_changed_comes_back_at_once_but_not_over_and_over() {
    let mut now = Instant::now();
    let mut backoff = connected(8, now);
    now += STABLE;
    backoff.handle_input(now, Input::Moved);
    assert_eq!(backoff.poll_timeout(), Some(now));
    let start = now;
    for _ in 0..30 {
        backoff.handle_input(now, Input::Connected { window: Duration::ZERO });
        backoff.handle_input(now, Input::Moved);
        now = backoff.poll_timeout().unwrap();
    }
    assert!(now - start > LAST_CEILING / 2, "{:?}", now - start);
}

#[test]
fn a_stable_session_makes_the_next_return_quick_again() {
    let start = Instant::now();
    let mut backoff = Backoff::new(Random::new(5));
    for second in 0..600 {
        backoff.handle_input(start + Duration::from_secs(second), Input::Ended);
    }
    let start = start + Duration::from_secs(600);
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
    let (mut backoff, mut now) = (Backoff::new(Random::new(6)), start);
    for _ in 0..30 {
        backoff.handle_input(now, Input::GoAway { within: Duration::ZERO });
        now += fail(&mut backoff, now);
    }
    assert!(now - start > LAST_CEILING, "{:?}", now - start);
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

/// Ends a session or an attempt, and says for how long the next one waits.
fn fail(backoff: &mut Backoff, now: Instant) -> Duration {
    backoff.handle_input(now, Input::Ended);
    backoff.poll_timeout().unwrap() - now
}

/// How long after its server an agent is back that lost it at `start` and was refused for as long as it was `away`.
fn back_after(seed: u64, start: Instant, window: Duration, away: Duration) -> Duration {
    let mut backoff = Backoff::new(Random::new(seed));
    backoff.handle_input(start - STABLE, Input::Connected { window });
    let mut now = start;
    loop {
        now += fail(&mut backoff, now);
        if let Some(after) = now.checked_duration_since(start + away) {
            return after;
        }
    }
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
