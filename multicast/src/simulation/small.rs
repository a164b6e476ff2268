//! How soon a small object is with everybody: nearly all of its time is that of what was lost.

use std::time::Duration;

use super::*;

#[test]
fn a_policy_is_with_all_four_within_fifty_milliseconds() {
    let times = spread(Pattern::Independent(0.05));
    assert!(times.within(990) <= ms(12), "{times:?}");
    assert!(times.within(1000) <= ms(50), "{times:?}");
}

#[test]
fn bursts_cost_a_policy_little_more() {
    // Such a one takes an announcement and all that goes with it.
    let times = spread(Pattern::Bursts { share: 0.05, length: 7.0 });
    assert!(times.within(990) <= ms(50), "{times:?}");
}

/// How long the slowest of four took, of many policies; shortest first.
struct Times(Vec<Duration>);

fn spread(loss: Pattern) -> Times {
    let slowest = |seed| {
        let mut scenario = Scenario::new(seed, 4096, 4, 0.0);
        scenario.links.fill(Link { loss, ..Link::default() });
        let outcome = scenario.run();
        outcome.completed.into_iter().map(|when| when.expect("complete")).max().expect("four receivers")
    };
    let mut times: Vec<_> = (0..POLICIES).map(slowest).collect();
    times.sort_unstable();
    let times = Times(times);
    println!("{loss:?}: {times:?}");
    times
}

impl Times {
    /// The time within which so many of a thousand are there.
    fn within(&self, permille: usize) -> Duration {
        self.0[(self.0.len() * permille / 1000).min(self.0.len() - 1)]
    }
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries([500, 900, 990, 999, 1000].map(|permille| (permille, self.within(permille))))
            .finish()
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const POLICIES: u64 = 2000;
