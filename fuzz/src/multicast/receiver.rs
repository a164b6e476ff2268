//! A receiver under whatever a member of its group can send.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use klnet_multicast::feedback::Feedback;
use klnet_multicast::layout::Layout;
use klnet_multicast::loss::Loss;
use klnet_multicast::mark::{Mark, MarkEntry};
use klnet_multicast::receiver::{Config, Input, Output, Receiver, Run};
use klnet_multicast::symbols::SymbolSet;

use crate::script::Script;

/// Whatever a member of the group sends, a receiver holds a bounded number of blocks, has none restored without enough
/// symbols, and finishes only when all are verified.
pub fn multicast_receiver(data: &[u8]) {
    let (mut script, mut now) = (Script::new(data), Instant::now());
    let layout = Layout::new(3000, 900_000, 16, 1024).expect("constants");
    let config = Config { window: 4, ..Config::default() };
    let (mut receiver, mut held) = (Receiver::new(now, config, layout), BTreeSet::new());
    while let Some(decision) = script.decision() {
        match decision % 8 {
            0..=2 => {
                let (number, block) = (script.short().into(), u32::from(script.byte() % 20));
                let run = Run { number, block, esi: script.short() % 200, count: script.short() % 200 };
                if receiver.handle_symbols(now, run) {
                    held.insert(block);
                }
            }
            3 => receiver.handle_input(
                now,
                Input::Mark { number: script.short().into(), mark: any_mark(&mut script) },
            ),
            4 => receiver.handle_input(now, any_input(&mut script)),
            5 => now += script.duration().min(Duration::from_secs(5)),
            6 => now = receiver.poll_timeout().unwrap_or(now).max(now),
            _ => {}
        }
        receiver.handle_timeout(now);
        drain_receiver(&mut receiver, layout, now, &mut script, &mut held);
        assert!(held.len() <= 4, "{held:?} are held");
    }
}

fn drain_receiver(
    receiver: &mut Receiver,
    layout: Layout,
    now: Instant,
    script: &mut Script<'_>,
    held: &mut BTreeSet<u32>,
) {
    while let Some(output) = receiver.poll_output() {
        match output {
            Output::Restore { block, have } => {
                assert!(have.len() >= layout.sources(block) && held.remove(&block));
                let input = match script.byte() % 4 {
                    0 => Input::Restored { block, fits: false, repaired: 0 },
                    1 => {
                        held.insert(block);
                        Input::Spoilt { block, have }
                    }
                    _ => Input::Restored { block, fits: true, repaired: 0 },
                };
                receiver.handle_input(now, input);
            }
            Output::Forget(block) => assert!(held.remove(&block), "{block} was not held"),
            Output::Finish => assert_eq!(receiver.verified(), layout.blocks()),
            Output::Say(said) => assert!(Feedback::decode(&said.encode()).is_ok(), "{said:?}"),
            Output::Rejoin | Output::Over { .. } => {}
        }
    }
}

fn any_mark(script: &mut Script<'_>) -> Mark {
    let entries = (0..script.byte() % 8)
        .map(|_| MarkEntry {
            block: u32::from(script.byte() % 20),
            sent: script.number(),
            heard: script.short(),
        })
        .collect();
    Mark {
        tail: script.coin(),
        frontier: u32::from(script.byte() % 20),
        grtt: script.duration(),
        group: script.number(),
        loss: Loss::new(f64::from(script.byte()) / 255.0),
        entries,
    }
}

fn any_input(script: &mut Script<'_>) -> Input {
    match script.byte() % 6 {
        0 => Input::Announced {
            number: script.short().into(),
            ended: script.byte() > 250,
            demoted: script.coin(),
        },
        1 => Input::Resumed(Vec::new()),
        2 => Input::Receipt,
        3 => Input::Failed,
        4 => {
            let mut sound = SymbolSet::new(200);
            sound.insert(script.short() % 200, script.short() % 200);
            let block = u32::from(script.byte() % 20);
            Input::Tagged { block, first: script.short(), count: script.short(), sound }
        }
        _ => Input::Retry,
    }
}
