use super::*;

#[test]
fn nothing_is_kept_before_the_first_use() {
    let mut bench = Bench::new(16);
    assert_eq!(bench.stock.take(bench.now), None);
    assert_eq!(bench.wait("first"), 1, "one for who waits, none ahead of need");
    assert_eq!(bench.opened(1), [Output::Hand("first", 1)]);
    assert_eq!(bench.answered(), 2);
}

#[test]
fn one_that_is_taken_is_replaced_once_the_target_answered() {
    let mut bench = Bench::warm(16);
    assert_eq!(bench.stock.take(bench.now), Some(1), "the oldest");
    bench.stock.answered(bench.now);
    assert_eq!(bench.opens(), 0, "its first exchange has the machine to itself");
    bench.wait_until_due();
    assert_eq!(bench.opens(), 1);
    assert!(bench.now - bench.start < Duration::from_millis(20));
}

#[test]
fn a_burst_opens_one_for_each_who_waits() {
    let mut bench = Bench::warm(16);
    bench.stock.take(bench.now);
    bench.stock.take(bench.now);
    let opens: usize = ["a", "b", "c"].into_iter().map(|waiter| bench.wait(waiter)).sum();
    assert_eq!(opens, 2 + 3, "and two to be ready again");
    assert_eq!(bench.opened(3), [Output::Hand("a", 3)]);
    assert_eq!(bench.opened(4), [Output::Hand("b", 4)]);
}

#[test]
fn ready_connections_are_replaced_before_they_are_too_old_and_closed_when_they_are() {
    let mut bench = Bench::warm(16);
    bench.wait_until_due();
    assert_eq!(bench.opens(), 2, "in good time");
    assert!(bench.now < bench.start + LIFE);
    assert_eq!(bench.opened(3), [Output::Close(1)]);
    assert_eq!(bench.opened(4), [Output::Close(2)]);
    bench.now += LIFE;
    assert_eq!(bench.stock.take(bench.now), None, "none is used that is too old");
}

#[test]
fn after_the_last_use_nothing_is_kept_for_ever() {
    let mut bench = Bench::warm(16);
    let mut opened = 0;
    while bench.stock.poll_timeout().is_some() {
        bench.wait_until_due();
        for _ in 0..bench.opens() {
            opened += 1;
            let _ = bench.opened(opened);
        }
        assert!(bench.now <= bench.start + WARM + LIFE);
    }
    assert!(opened > 2 && bench.stock.shelf.is_empty(), "{opened}");
    bench.wait("next");
    assert_eq!(bench.opened(0), [Output::Hand("next", 0)]);
    assert_eq!(bench.answered(), 2, "the next use warms it again");
}

#[test]
fn ready_connections_never_take_the_place_of_one_in_use() {
    for limit in 1..5 {
        let mut bench = Bench::warm(limit);
        for in_use in 0..10 {
            let taken = bench.stock.take(bench.now).is_some();
            if !taken {
                bench.wait("a local connection");
                assert!(bench.stock.opening > 0, "the grant's limit is the target's to keep");
                assert!(matches!(bench.opened(9)[..], [Output::Hand(..)]));
            }
            let opens = bench.answered();
            (0..opens).for_each(|stream| drop(bench.opened(stream)));
            let ready = bench.stock.shelf.len();
            assert!(ready == 2.min(limit.saturating_sub(in_use + 1)), "{limit} {in_use} {ready}");
        }
    }
}

#[test]
fn who_comes_at_the_limit_gets_the_one_that_is_being_opened() {
    let mut bench = Bench::new(2);
    bench.wait("first");
    let _ = bench.opened(1);
    assert_eq!(bench.answered(), 1, "one more is allowed");
    assert_eq!(bench.wait("second"), 0, "and it is on its way");
    assert_eq!(bench.opened(2), [Output::Hand("second", 2)]);
}

#[test]
fn one_that_ends_makes_room() {
    let mut bench = Bench::new(1);
    bench.wait("first");
    let _ = bench.opened(1);
    assert_eq!(bench.answered(), 0);
    bench.stock.returned(bench.now);
    assert_eq!(bench.opens(), 1);
}

#[test]
fn one_use_after_another_does_not_put_off_what_is_missing() {
    let mut bench = Bench::warm(16);
    let begun = bench.now;
    let mut opened = 0;
    while opened == 0 {
        bench.stock.take(bench.now);
        bench.stock.answered(bench.now);
        bench.now += SETTLE / 4;
        bench.stock.handle_timeout(bench.now);
        opened = bench.opens();
    }
    assert!(bench.now - begun <= 2 * SETTLE);
}

#[test]
fn those_that_end_by_themselves_are_replaced_ever_more_patiently() {
    let mut bench = Bench::warm(16);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        assert!(bench.stock.remove_ended(bench.now, |_| true) > 0);
        assert_eq!(bench.opens(), 0, "not at once");
        let begun = bench.now;
        bench.wait_until_due();
        pauses.push(bench.now - begun);
        assert_eq!(bench.opens(), 2);
        let _ = (bench.opened(5), bench.opened(6));
    }
    assert!(pauses.is_sorted_by(|a, b| a < b), "{pauses:?}");
}

#[test]
fn a_failed_handshake_is_told_to_who_waits_and_otherwise_tried_later() {
    let mut bench = Bench::warm(16);
    let _ = (bench.stock.take(bench.now), bench.stock.take(bench.now));
    assert_eq!(bench.answered(), 2);
    bench.wait("waits");
    bench.opens();
    assert_eq!(bench.stock.failed(bench.now), Some("waits"));
    assert_eq!(bench.stock.failed(bench.now), None);
    assert_eq!(bench.stock.failed(bench.now), None);
    assert_eq!(bench.opens(), 0);
    bench.wait_until_due();
    assert_eq!(bench.opens(), 2);
}

#[test]
fn one_that_nobody_claimed_is_ready_for_the_next() {
    let mut bench = Bench::new(16);
    bench.wait("gone");
    let [Output::Hand("gone", stream)] = bench.opened(7)[..] else { panic!() };
    bench.stock.returned(bench.now);
    bench.stock.unclaimed(bench.now, stream);
    assert_eq!(bench.stock.take(bench.now), Some(7));
    bench.wait("next");
    bench.stock.unclaimed(bench.now, 8);
    assert_eq!(bench.stock.poll_output(), Some(Output::Hand("next", 8)));
}

#[test]
fn given_up_connections_are_not_replaced_at_once() {
    let mut bench = Bench::warm(16);
    assert_eq!(bench.stock.give_up(bench.now), [1, 2]);
    assert_eq!(bench.opens(), 0);
    assert_eq!(bench.wait("needs the room"), 1);
}

struct Bench {
    stock: Stock<usize, &'static str>,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(limit: usize) -> Self {
        let now = Instant::now();
        let config = Config { streams: 2, warm: WARM };
        Self { stock: Stock::new(config, limit, LIFE), start: now, now }
    }

    /// One whose first connection has come and gone, with as many ready as the grant allows: 1 and 2.
    fn warm(limit: usize) -> Self {
        let mut bench = Self::new(limit);
        bench.wait("first");
        let _ = bench.opened(0);
        bench.stock.returned(bench.now);
        for stream in 1..=bench.answered() {
            assert_eq!(bench.opened(stream), []);
        }
        bench.start = bench.now;
        bench
    }

    /// How many handshakes are to be begun, when there is nothing else to do.
    fn opens(&mut self) -> usize {
        let outputs: Vec<_> = std::iter::from_fn(|| self.stock.poll_output()).collect();
        outputs.iter().filter(|output| **output == Output::Open).count()
    }

    fn wait(&mut self, waiter: &'static str) -> usize {
        self.stock.wait(self.now, waiter);
        self.opens()
    }

    /// GO was answered, and the first exchange is over.
    fn answered(&mut self) -> usize {
        self.stock.answered(self.now);
        self.now += SETTLE;
        self.stock.handle_timeout(self.now);
        self.opens()
    }

    fn opened(&mut self, stream: usize) -> Vec<Output<usize, &'static str>> {
        self.stock.opened(self.now, stream);
        let outputs = std::iter::from_fn(|| self.stock.poll_output());
        outputs.filter(|output| *output != Output::Open).collect()
    }

    fn wait_until_due(&mut self) {
        self.now = self.stock.poll_timeout().unwrap();
        self.stock.handle_timeout(self.now);
    }
}

const LIFE: Duration = Duration::from_secs(30);
const WARM: Duration = Duration::from_secs(120);
