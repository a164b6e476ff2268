//! Who listens: what each receiver said last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::feedback::{Feedback, State, period};
use crate::id::ReceiverId;
use crate::loss::Loss;

/// The receivers of a session.
#[derive(Debug, Default)]
pub(super) struct Audience {
    members: BTreeMap<ReceiverId, Member>,
    /// Receivers whose sockets overran since the rate was last changed.
    overran: usize,
}

/// A receiver as its sender sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it said last.
    pub said: Feedback,
    /// When that was.
    pub heard: Instant,
    /// When it was first heard.
    pub joined: Instant,
    /// When it was complete.
    pub completed: Option<Instant>,
    /// Whether it has to wait for the tail.
    pub demoted: bool,
    /// Whether it loses far more than the middle one, so that what it misses is not sent again while others wait.
    stands_out: bool,
    /// Requests in a row that stood out.
    strikes: u8,
    /// Since when it has been full while most others are not.
    stuck: Option<Instant>,
}

/// What a feedback changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was heard before, or there is no room for another receiver.
    Stale,
    /// The first of a receiver.
    Joined,
    /// Its receiver is now complete.
    Completed,
    /// Its receiver has to wait from now on.
    Demoted,
    /// One more.
    More,
}

impl Audience {
    /// Takes in what a receiver says.
    pub(super) fn hear(&mut self, now: Instant, receiver: ReceiverId, said: Feedback) -> News {
        let (middle, others_have_room) = (self.loss(now), !self.is_mostly_full(now));
        let Some(member) = self.members.get_mut(&receiver) else {
            if self.members.len() == MEMBERS_LIMIT {
                return News::Stale;
            }
            let completed = (said.state == State::Complete).then_some(now);
            self.members.insert(receiver, Member::new(now, said, completed));
            return News::Joined;
        };
        if (said.seen, said.sequence) <= (member.said.seen, member.said.sequence) {
            return News::Stale;
        }
        self.overran += usize::from(said.overruns > member.said.overruns && !member.is_deferred());
        member.said = said;
        member.heard = now;
        if member.said.state == State::Complete && member.completed.is_none() {
            member.completed = Some(now);
            return News::Completed;
        }
        let stands_out = member.strike(middle) || member.is_stuck(now, others_have_room);
        if member.demoted || !stands_out {
            return News::More;
        }
        member.demoted = true;
        News::Demoted
    }

    /// Loss of the middle one of those who are being served; of two middle ones the lower, so that one of two cannot drag
    /// the other along. `None` until more than half know theirs: the first to know may be the one that stands out.
    pub(super) fn loss(&self, now: Instant) -> Option<Loss> {
        let wait = self.is_first_wanting(now);
        let served =
            self.members.values().filter(|member| member.is_wanting(now) && !(wait && member.demoted));
        let (mut count, mut known) = (0_usize, Vec::<Loss>::new());
        for member in served {
            count += 1;
            known.extend(member.said.loss);
        }
        if known.len() * 2 <= count {
            return None;
        }
        let middle = known.len().checked_sub(1)? / 2;
        let (_, loss, _) = known.select_nth_unstable_by(middle, |a, b| a.share().total_cmp(&b.share()));
        Some(*loss)
    }

    /// Whether more than a twentieth of the sockets overran since this was last asked.
    pub(super) fn overran(&mut self) -> bool {
        std::mem::take(&mut self.overran) * 20 > self.members.len()
    }

    /// Whether more than a twentieth of those who are served have no room for another block.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let (full, served) = self.fullness(now);
        full * 20 > served
    }

    fn is_mostly_full(&self, now: Instant) -> bool {
        let (full, served) = self.fullness(now);
        full * 2 > served
    }

    /// How many have no room, and how many are served. What was said a while ago may not be so any more.
    fn fullness(&self, now: Instant) -> (usize, usize) {
        let lapse = LAPSE.max(3 * period(u32::try_from(self.len()).unwrap_or(u32::MAX)));
        let served = self.members.values().filter(|member| member.is_wanting(now) && !member.is_deferred());
        served.fold((0, 0), |(full, served), member| {
            let is_full = member.said.full && now.saturating_duration_since(member.heard) < lapse;
            (full + usize::from(is_full), served + 1)
        })
    }

    /// The first block that somebody still needs, not counting those who wait for others while there are any;
    /// `None` when nobody needs any.
    pub(super) fn first_needed(&self, now: Instant) -> Option<u32> {
        let wanting = self.members.values().filter(|member| member.is_wanting(now));
        wanting.map(|member| (member.is_deferred(), member.said.below)).min().map(|(_, below)| below)
    }

    /// Whether anybody still needs something.
    pub(super) fn is_wanting(&self, now: Instant) -> bool {
        self.members.values().any(|member| member.is_wanting(now))
    }

    /// Whether anybody does who need not wait for the others.
    pub(super) fn is_first_wanting(&self, now: Instant) -> bool {
        self.members.values().any(|member| member.is_wanting(now) && !member.is_deferred())
    }

    /// How many are in the state.
    pub(super) fn count(&self, state: State) -> usize {
        self.members.values().filter(|member| member.said.state == state).count()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn member(&self, receiver: ReceiverId) -> Option<&Member> {
        self.members.get(&receiver)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ReceiverId, &Member)> {
        self.members.iter().map(|(receiver, member)| (*receiver, member))
    }
}

impl Member {
    fn new(now: Instant, said: Feedback, completed: Option<Instant>) -> Self {
        let (heard, joined) = (now, now);
        Self { said, heard, joined, completed, demoted: false, stands_out: false, strikes: 0, stuck: None }
    }

    /// Whether others go before it.
    pub(super) const fn is_deferred(&self) -> bool {
        self.demoted || self.stands_out
    }

    /// Whether it still needs something, and is there.
    fn is_wanting(&self, now: Instant) -> bool {
        self.said.state == State::Receiving && now.saturating_duration_since(self.heard) < PRESENT
    }

    /// Notes how much it loses, and a request; says whether it was one too many that stood out.
    fn strike(&mut self, middle: Option<Loss>) -> bool {
        let (Some(own), Some(middle)) = (self.said.loss, middle) else { return false };
        self.stands_out = own.share() > 2.0 * middle.share() + STANDS_OUT;
        if self.said.deficits.is_empty() {
            return false;
        }
        self.strikes = if self.stands_out { self.strikes.saturating_add(1) } else { 0 };
        self.strikes >= STRIKES
    }

    /// Notes whether it has room; says whether it has had none for too long while others have.
    fn is_stuck(&mut self, now: Instant, others_have_room: bool) -> bool {
        self.stuck = (self.said.full && others_have_room).then_some(self.stuck.unwrap_or(now));
        self.stuck.is_some_and(|since| now.saturating_duration_since(since) >= STUCK)
    }
}

/// Receivers of one session; more are not served.
pub const MEMBERS_LIMIT: usize = 16_384;
/// Who was silent for as long as this is not waited for.
const PRESENT: Duration = Duration::from_secs(10);
/// What a receiver whose machine is busy says again within.
const LAPSE: Duration = Duration::from_millis(300);
/// Requests in a row that stand out before their receiver has to wait.
pub const STRIKES: u8 = 8;
/// A disk that takes longer for two blocks of 4 MiB is slower than 10 MB/s.
pub const STUCK: Duration = Duration::from_secs(1);
/// Loss above twice that of the middle receiver.
const STANDS_OUT: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::tests::sample;

    #[test]
    fn a_replay_changes_nothing() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        assert_eq!(audience.hear(now, id(1), sample()), News::Joined);
        assert_eq!(audience.hear(now, id(1), sample()), News::Stale);
        let older = Feedback { seen: sample().seen - 1, sequence: 99, ..sample() };
        assert_eq!(audience.hear(now, id(1), older), News::Stale);
        let restarted = Feedback { seen: sample().seen + 1, sequence: 0, ..sample() };
        assert_eq!(audience.hear(now, id(1), restarted), News::More);
    }

    #[test]
    fn the_one_that_stands_out_is_demoted_and_nobody_else() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        let mut demoted = Vec::new();
        for sequence in 0..20 {
            for (receiver, share) in [(1, 0.05), (2, 0.06), (3, 0.3)] {
                let said = Feedback { sequence, loss: Loss::new(share), ..sample() };
                if audience.hear(now, id(receiver), said) == News::Demoted {
                    demoted.push(receiver);
                }
            }
        }
        assert_eq!(demoted, [3]);
    }

    #[test]
    fn who_stands_out_waits_at_once_and_only_for_as_long() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        let mut waits = Vec::new();
        for (sequence, share) in [(3, 0.0), (4, 0.3), (5, 0.3), (6, 0.01)] {
            for receiver in 0..3 {
                let loss = Loss::new(if receiver == 0 { share } else { 0.0 });
                let full = receiver == 0;
                audience.hear(now, id(receiver), Feedback { sequence, loss, full, ..sample() });
            }
            waits.push((audience.member(id(0)).unwrap().is_deferred(), audience.is_full(now)));
        }
        assert_eq!(waits, [(false, true), (true, false), (true, false), (false, true)]);
        let others = |sequence| Feedback { sequence, state: State::Complete, ..sample() };
        audience.hear(now, id(0), Feedback { sequence: 7, loss: Loss::new(0.3), ..sample() });
        assert!(audience.is_first_wanting(now));
        for receiver in 1..3 {
            audience.hear(now, id(receiver), others(8));
        }
        assert!(!audience.is_first_wanting(now), "it is the turn of who waited");
    }

    #[test]
    fn the_first_to_know_its_loss_does_not_speak_for_all() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        let said = |share| Feedback { loss: Loss::new(share), ..sample() };
        audience.hear(now, id(0), said(0.3));
        audience.hear(now, id(1), said(0.0));
        (2..4).for_each(|receiver| _ = audience.hear(now, id(receiver), Feedback { loss: None, ..sample() }));
        assert_eq!(audience.loss(now), None);
        audience.hear(now, id(2), Feedback { sequence: 4, ..said(0.0) });
        assert_eq!(audience.loss(now), Loss::new(0.0));
    }

    #[test]
    fn who_has_no_room_holds_few_others_up_and_not_for_ever() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        for receiver in 0..40 {
            audience.hear(now, id(receiver), Feedback { full: receiver < 2, ..sample() });
        }
        assert!(!audience.is_full(now), "two of forty");
        audience.hear(now, id(2), Feedback { full: true, sequence: 4, ..sample() });
        assert!(audience.is_full(now), "three of forty");
        assert!(!audience.is_full(now + Duration::from_millis(300)), "and not a word since");
    }

    #[test]
    fn who_alone_has_no_room_for_a_second_has_to_wait() {
        let (mut audience, start) = (Audience::default(), Instant::now());
        let mut news = Vec::new();
        for sequence in 4..24 {
            let now = start + Duration::from_millis(100) * sequence;
            for receiver in 0..3 {
                let said = Feedback { full: receiver == 0, sequence, deficits: Vec::new(), ..sample() };
                news.push((receiver, audience.hear(now, id(receiver), said)));
            }
        }
        news.retain(|(_, news)| *news == News::Demoted);
        assert_eq!(news, [(0, News::Demoted)]);
        let all = |full| Feedback { full, sequence: 99, ..sample() };
        for receiver in 0..3 {
            audience.hear(start, id(receiver), all(true));
        }
        assert!(audience.is_full(start), "who waits holds nobody up, the others do");
    }

    #[test]
    fn who_vanished_is_not_waited_for() {
        let (mut audience, now) = (Audience::default(), Instant::now());
        audience.hear(now, id(1), Feedback { below: 7, ..sample() });
        assert_eq!(audience.first_needed(now), Some(7));
        assert_eq!(audience.first_needed(now + PRESENT), None);
        audience.hear(now + PRESENT, id(2), Feedback { state: State::Complete, ..sample() });
        assert!(!audience.is_wanting(now + PRESENT));
    }

    fn id(n: u8) -> ReceiverId {
        ReceiverId::new([n; 16])
    }
}
