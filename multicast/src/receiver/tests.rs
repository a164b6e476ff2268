use super::*;
use crate::loss::Loss;
use crate::mark::{Mark, MarkEntry};

#[test]
fn a_block_is_restored_once_enough_is_there_and_never_again() {
    let mut world = World::new();
    world.catalogue();
    assert!(world.symbols(1, 0, 60));
    assert_eq!(world.drain(), []);
    assert!(world.symbols(1, 64, 4), "parity is as good");
    assert!(matches!(world.drain()[..], [Output::Restore { block: 1, .. }]));
    assert!(!world.symbols(1, 60, 4), "not needed any more");
    world.restored(1, true);
    assert!(!world.symbols(1, 60, 4));
    assert_eq!(world.receiver.verified(), 2);
}

#[test]
fn no_block_is_restored_before_its_hash_is_known() {
    let mut world = World::new();
    world.symbols(1, 0, 64);
    assert_eq!(world.drain(), []);
    world.catalogue();
    assert!(matches!(world.drain()[..], [Output::Restore { block: 1, .. }]));
}

#[test]
fn a_block_that_is_not_what_was_signed_is_taken_anew() {
    let mut world = World::new();
    world.catalogue();
    world.symbols(1, 0, 64);
    world.drain();
    world.restored(1, false);
    assert!(world.symbols(1, 0, 64));
    assert!(matches!(world.drain()[..], [Output::Restore { block: 1, .. }]));
}

#[test]
fn what_was_forged_is_thrown_away_and_the_rest_is_kept() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.symbols(1, 0, 64);
    world.mark(2, &[]);
    let Some(Output::Restore { block: 1, have }) = world.drain().pop() else { panic!("it is restored") };
    world.receiver.handle_input(world.now, Input::Spoilt { block: 1, have });
    let said = world.said(Duration::from_millis(50));
    assert!(said.iter().all(|said| said.spoilt == Some(1)) && !said.is_empty(), "{said:?}");
    assert!(!world.symbols(1, 64, 4), "nothing is taken before it can be told from what is forged");
    // All but the first ten are sound, parity that never came among them.
    let mut sound = SymbolSet::new(128);
    sound.insert(10, 118);
    for (first, count) in [(64, 64), (0, 64)] {
        let input = Input::Tagged { block: 1, first, count, sound: sound.clone() };
        world.receiver.handle_input(world.now, input);
    }
    let asked = world.requests(Duration::from_millis(100));
    assert_eq!(asked.first().map(Vec::as_slice), Some([Deficit { block: 1, symbols: 10 }].as_slice()));
    assert!(world.symbols(1, 0, 10));
    assert!(matches!(world.drain()[..], [Output::Restore { block: 1, .. }]));
}

#[test]
fn memory_is_bounded_and_lower_blocks_go_first() {
    let mut world = World::new();
    for block in 2..10 {
        assert!(world.symbols(block, 0, 40));
    }
    assert!(!world.symbols(11, 0, 1), "a higher block finds no room");
    assert!(world.symbols(1, 0, 1));
    assert_eq!(world.drain(), [Output::Forget(9)]);
}

#[test]
fn a_whole_block_that_is_given_up_in_the_tail_is_asked_for() {
    let mut world = World::new();
    world.join();
    (2..10).for_each(|block| assert!(world.symbols(block, 0, 64)));
    world.tail = true;
    world.mark(12, &[]);
    let asked = |world: &mut World| world.requests(Duration::from_secs(1)).concat();
    assert!(asked(&mut world).iter().all(|deficit| deficit.block != 9), "it waits for the catalogue");
    assert!(world.symbols(1, 0, 1));
    assert_eq!(world.drain(), [Output::Forget(9)]);
    assert!(asked(&mut world).contains(&Deficit { block: 9, symbols: 64 }));
}

#[test]
fn a_receiver_says_when_it_is_full_and_when_there_is_room_again() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.said(Duration::from_millis(20));
    (1..7).for_each(|block| assert!(world.symbols(block, 0, 64)));
    let full = world.said(Duration::from_millis(20));
    assert!(full.iter().any(|said| said.full), "six of eight: {full:?}");
    world.restored(1, true);
    assert!(world.said(Duration::from_millis(200)).iter().all(|said| said.full), "not yet");
    (2..5).for_each(|block| world.restored(block, true));
    assert!(world.said(Duration::from_millis(20)).iter().any(|said| !said.full));
}

#[test]
fn what_waits_for_the_tail_makes_room_and_holds_nobody_up() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    (1..9).for_each(|block| assert!(world.symbols(block, 0, 10)));
    world.mark(9, &[]);
    assert!(world.said(Duration::from_millis(200)).iter().all(|said| !said.full));
    world.drain();
    assert!(world.symbols(9, 0, 10));
    assert_eq!(world.drain(), [Output::Forget(1)]);
}

#[test]
fn a_request_names_what_is_missing_and_is_made_once() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.symbols(1, 0, 60);
    world.mark(2, &[]);
    let asked = world.requests(Duration::from_millis(100));
    assert_eq!(asked.first().map(Vec::as_slice), Some([Deficit { block: 1, symbols: 4 }].as_slice()));
    world.mark(2, &[MarkEntry { block: 1, sent: 64, heard: 4 }]);
    assert_eq!(world.requests(Duration::from_millis(3)), [[]; 0], "it was heard");
}

#[test]
fn who_hears_that_more_is_asked_for_stays_silent() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.symbols(1, 0, 60);
    for _ in 0..20 {
        world.mark(2, &[MarkEntry { block: 1, sent: 64, heard: 10 }]);
        assert_eq!(world.requests(Duration::from_millis(3)), [[]; 0]);
    }
    assert!(!world.requests(Duration::from_secs(1)).is_empty(), "silence lapses when nothing comes");
}

#[test]
fn no_number_of_marks_silences_a_receiver_for_ever() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.symbols(1, 0, 60);
    let mut asked = 0;
    for _ in 0..200 {
        world.mark(2, &[MarkEntry { block: 1, sent: 64, heard: u16::MAX }]);
        asked += world.requests(Duration::from_millis(1)).len();
    }
    assert!(asked > 1, "{asked}");
}

#[test]
fn what_was_missed_mostly_waits_for_the_tail() {
    let mut world = World::new();
    world.join();
    world.catalogue();
    world.symbols(1, 0, 20);
    world.mark(10, &[]);
    assert_eq!(world.requests(Duration::from_secs(1)), [[]; 0]);
    world.tail = true;
    world.mark(12, &[]);
    let asked = world.requests(Duration::from_secs(1));
    assert_eq!(asked[0][0], Deficit { block: 1, symbols: 44 });
    assert_eq!(asked[0].len(), 11, "everything at once");
}

#[test]
fn nothing_is_said_before_it_is_known_what_was_there() {
    let mut world = World::new();
    world.mark(12, &[]);
    assert_eq!(world.requests(Duration::from_secs(2)), [[]; 0]);
    let resumed = (0..12).collect();
    world.receiver.handle_input(world.now, Input::Resumed(resumed));
    assert_eq!(world.drain(), [Output::Finish]);
}

#[test]
fn completion_is_told_until_it_is_known() {
    let mut world = World::new();
    world.receiver.handle_input(world.now, Input::Resumed((0..12).collect()));
    world.receiver.handle_input(world.now, Input::Finished);
    world.drain();
    let told = world.said(Duration::from_millis(500));
    assert!(told.len() >= 2 && told.iter().all(|said| said.state == State::Complete));
    world.receiver.handle_input(world.now, Input::Receipt);
    assert_eq!(world.drain(), [Output::Over { complete: true }]);
    assert_eq!(world.receiver.poll_timeout(), None);
}

#[test]
fn a_silent_group_is_joined_again() {
    let mut world = World::new();
    world.join();
    let mut rejoined = 0;
    while let Some(when) = world.receiver.poll_timeout() {
        world.now = when;
        world.receiver.handle_timeout(when);
        rejoined += world.drain().iter().filter(|output| **output == Output::Rejoin).count();
    }
    assert!((5..60).contains(&rejoined), "{rejoined} times, and given up in the end");
}

#[test]
fn an_end_ends_it() {
    let mut world = World::new();
    world.join();
    let input = Input::Announced { number: 99, ended: true, demoted: false };
    world.receiver.handle_input(world.now, input);
    assert_eq!(world.drain(), [Output::Over { complete: false }]);
    assert!(!world.symbols(1, 0, 1));
}

struct World {
    receiver: Receiver,
    now: Instant,
    number: u64,
    tail: bool,
}

impl World {
    /// Eleven blocks of 64 source symbols behind a catalogue of one.
    fn new() -> Self {
        let layout = Layout::new(100, 11 << 16, 16, 1024).unwrap();
        let now = Instant::now();
        let receiver = Receiver::new(now, Config::default(), layout);
        Self { receiver, now, number: 0, tail: false }
    }

    fn join(&mut self) {
        self.receiver.handle_input(self.now, Input::Resumed(Vec::new()));
    }

    fn catalogue(&mut self) {
        self.symbols(0, 0, 1);
        assert!(matches!(self.drain()[..], [Output::Restore { block: 0, .. }]));
        self.restored(0, true);
    }

    fn symbols(&mut self, block: u32, esi: u16, count: u16) -> bool {
        let run = Run { number: self.number + 1, block, esi, count };
        self.number += u64::from(count);
        self.receiver.handle_symbols(self.now, run)
    }

    fn restored(&mut self, block: u32, fits: bool) {
        self.receiver.handle_input(self.now, Input::Restored { block, fits, repaired: 0 });
    }

    fn mark(&mut self, frontier: u32, entries: &[MarkEntry]) {
        self.number += 1;
        let grtt = Duration::from_millis(2);
        let entries = entries.to_vec();
        let mark = Mark { tail: self.tail, frontier, grtt, group: 10, loss: Loss::new(0.05), entries };
        self.receiver.handle_input(self.now, Input::Mark { number: self.number, mark });
    }

    fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.receiver.poll_output()).collect()
    }

    fn said(&mut self, time: Duration) -> Vec<Feedback> {
        let (end, mut said) = (self.now + time, Vec::new());
        while let Some(when) = self.receiver.poll_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.receiver.handle_timeout(self.now);
            said.extend(self.drain().into_iter().filter_map(|output| match output {
                Output::Say(said) => Some(said),
                _ => None,
            }));
        }
        self.now = end;
        said
    }

    fn requests(&mut self, time: Duration) -> Vec<Vec<Deficit>> {
        let said = self.said(time).into_iter().map(|said| said.deficits);
        said.filter(|deficits| !deficits.is_empty()).collect()
    }
}
