//! What was done, counted: by each thread for itself, added up when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one thread.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Keys that were asked about.
    Received,
    /// Of them, answered from the cache or a snapshot.
    Served,
    /// Of those, past their time.
    Stale,
    /// Not asked upstream because too many were waiting.
    RejectedFull,
    /// Not answered by upstream before the asker's patience was over.
    RejectedLate,
    /// Asked upstream, each once for all who wait for it.
    Forwarded,
    /// Of them, not answered.
    Failed,
    /// Of them, answered.
    Succeeded,
    /// Sources that were asked to show a cookie.
    Challenged,
    /// Queries refused: plain where that is not allowed, or an unknown op.
    Refused,
    /// Queries refused because there were too many.
    Limited,
    /// Frames that were none.
    Malformed,
    /// Sealed frames that did not open, or came again.
    NotAuthentic,
    /// Tickets that were issued.
    Tickets,
}

/// All counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Counter::ALL.len()]);

impl Counters {
    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `more`. Only the thread whose counters they are counts, so nothing is lost between load and store.
    pub fn add(&self, counter: Counter, more: u64) {
        let at = &self.0[counter as usize];
        at.store(at.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

impl Counts {
    /// The sum of the counters of all threads.
    pub fn sum<'a>(threads: impl IntoIterator<Item = &'a Counters>) -> Self {
        threads.into_iter().fold(Self::default(), |mut sum, counters| {
            for (total, counter) in sum.0.iter_mut().zip(&counters.0) {
                *total = total.wrapping_add(counter.load(Ordering::Relaxed));
            }
            sum
        })
    }

    /// One of them.
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Received,
        Self::Served,
        Self::Stale,
        Self::RejectedFull,
        Self::RejectedLate,
        Self::Forwarded,
        Self::Failed,
        Self::Succeeded,
        Self::Challenged,
        Self::Refused,
        Self::Limited,
        Self::Malformed,
        Self::NotAuthentic,
        Self::Tickets,
    ];

    /// What it is called where names have no spaces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Served => "served_from_cache",
            Self::Stale => "served_stale",
            Self::RejectedFull => "rejected_full",
            Self::RejectedLate => "rejected_late",
            Self::Forwarded => "forwarded",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Challenged => "challenged",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Malformed => "malformed",
            Self::NotAuthentic => "not_authentic",
            Self::Tickets => "tickets_issued",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_all_threads_are_added_up() {
        let threads = [Counters::default(), Counters::default()];
        threads[0].count(Counter::Received);
        threads[1].add(Counter::Received, 2);
        threads[1].count(Counter::Tickets);
        let counts = Counts::sum(&threads);
        assert_eq!(counts.of(Counter::Received), 3);
        assert_eq!(counts.of(Counter::Tickets), 1);
        assert_eq!(counts.of(Counter::Failed), 0);
    }

    #[test]
    fn each_counter_has_its_own_place() {
        for (at, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, at);
        }
    }
}
