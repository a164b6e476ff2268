//! The proxy core, under any order of asks, answers, failures and time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use klnet_ksnproxy::proxy::{Config, Input, Output, Proxy};
use klnet_ksnproxy::subject::{Digest, Subject};
use klnet_ksnproxy::verdict::Verdict;

use crate::script::Script;

/// Everyone who asks is answered once, and nothing stays under way.
pub fn reputation_proxy(data: &[u8]) {
    let mut script = Script::new(data);
    let config = Config { upstreams: 2, batch: 3, window: 2, keys: 20, waiters: 40, ..Config::default() };
    let mut proxy = Proxy::new(config);
    let (mut now, mut asked, mut answered) = (Instant::now(), 0, Vec::new());
    let mut requests = HashMap::new();
    while let Some(decision) = script.decision() {
        let number = script.byte();
        let (batch, upstream) = (u64::from(number >> 1), usize::from(number & 1));
        match decision % 5 {
            0 | 1 => {
                let key = Subject::File(Digest::Md5([number % 32; 16]), None).key();
                let waiter = (decision % 5 == 0).then_some(asked);
                asked += u32::from(waiter.is_some());
                proxy.handle_input(now, Input::Ask(key, waiter));
            }
            2 => {
                let keys = requests.get(&batch).copied().unwrap_or_default();
                let verdicts =
                    vec![Verdict::unknown(Duration::from_secs(1)); keys + usize::from(decision > 250)];
                proxy.handle_input(now, Input::Answered { batch, upstream, verdicts });
            }
            3 => proxy.handle_input(now, Input::Failed { batch, upstream }),
            _ => {
                now += Duration::from_millis(u64::from(number) * 8);
                proxy.handle_timeout(now);
            }
        }
        drain(&mut proxy, &mut requests, &mut answered);
    }
    // Whatever is under way ends with somebody's patience.
    for _ in 0..100 {
        let Some(due) = proxy.poll_timeout() else { break };
        now = now.max(due);
        proxy.handle_timeout(now);
        drain(&mut proxy, &mut requests, &mut answered);
    }
    assert_eq!((proxy.poll_timeout(), proxy.under_way()), (None, 0));
    answered.sort_unstable();
    assert!(answered.iter().copied().eq(0..asked), "{answered:?} of {asked}");
}

fn drain(proxy: &mut Proxy<u32>, requests: &mut HashMap<u64, usize>, answered: &mut Vec<u32>) {
    while let Some(output) = proxy.poll_output() {
        match output {
            Output::Send { batch, keys, .. } => drop(requests.insert(batch, keys.len())),
            Output::Done { waiters, .. } => answered.extend(waiters),
        }
    }
}
