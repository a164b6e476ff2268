//! A sender under any feedback.

use std::time::{Duration, Instant};

use klnet_multicast::feedback::{Deficit, Feedback, State};
use klnet_multicast::id::ReceiverId;
use klnet_multicast::layout::Layout;
use klnet_multicast::loss::Loss;
use klnet_multicast::sender::{Config, Output, Sender};

use crate::script::Script;

/// Whatever receivers say, a sender numbers every packet once, sends only symbols that there are, and ends.
pub fn multicast_sender(data: &[u8]) {
    let (mut script, mut now) = (Script::new(data), Instant::now());
    let layout = Layout::new(3000, 200_000, 16, 1024).expect("constants");
    let expect = script.coin().then_some(2);
    let config = Config { expect, cap: 100_000_000, ..Config::default() };
    let (mut sender, mut last) = (Sender::new(now, config, layout), 0);
    while let Some(decision) = script.decision() {
        match decision % 4 {
            0 => {
                sender.handle_feedback(now, ReceiverId::new([decision; 16]), any_feedback(&mut script, last))
            }
            1 => now += script.duration().min(Duration::from_secs(5)),
            2 => now = sender.poll_timeout().unwrap_or(now).max(now),
            _ if decision > 250 => sender.stop(now),
            _ => {}
        }
        sender.handle_timeout(now);
        last = drain_sender(&mut sender, layout, last);
    }
    sender.stop(now);
    for _ in 0..10 {
        let Some(when) = sender.poll_timeout() else { return };
        sender.handle_timeout(when);
        last = drain_sender(&mut sender, layout, last);
    }
    assert_eq!(sender.poll_timeout(), None, "a session that is stopped ends");
}

fn drain_sender(sender: &mut Sender, layout: Layout, mut last: u64) -> u64 {
    while let Some(output) = sender.poll_output() {
        let (number, count) = match output {
            Output::Announce { number, .. } | Output::Mark { number, .. } => (number, 1),
            Output::Symbols { number, block, esi, count } => {
                assert!(block < layout.blocks() && count > 0 && esi + count <= layout.symbols(block));
                (number, u64::from(count))
            }
            Output::Tags { number, block, first, count } => {
                assert!(block < layout.blocks() && count > 0 && first + count <= layout.symbols(block));
                (number, 1)
            }
            Output::Receipt(_) | Output::Event(_) => continue,
        };
        assert!(number > last, "packet {number} after {last}");
        last = number + count - 1;
    }
    last
}

fn any_feedback(script: &mut Script<'_>, last: u64) -> Feedback {
    let deficits = (0..script.byte() % 8)
        .map(|_| Deficit { block: u32::from(script.byte() % 8), symbols: script.short() })
        .collect();
    Feedback {
        seen: last.saturating_sub(u64::from(script.byte())),
        held: script.duration(),
        sequence: script.number(),
        state: *script.pick(&[State::Receiving, State::Complete, State::Failed]).expect("three"),
        full: script.coin(),
        loss: Loss::new(f64::from(script.byte()) / 255.0),
        overruns: script.byte().into(),
        below: script.byte().into(),
        verified: script.byte().into(),
        repaired: 0,
        spoilt: script.coin().then(|| u32::from(script.byte() % 8)),
        label: String::new(),
        deficits,
    }
}
