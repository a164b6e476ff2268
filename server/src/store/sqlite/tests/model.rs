//! Random histories, against the oracle.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::store::model::Model;

/// One step of a history; numbers choose among what exists.
#[derive(Clone, Debug)]
enum Step {
    Commit { guards: Vec<(u8, usize, bool)>, ops: BTreeMap<usize, Option<u8>> },
    Retry(usize),
    Get(usize),
    Scan { prefix: usize, limit: u32, back: u64 },
    Watch { prefix: usize, back: u64 },
    Reopen,
}

/// A store, its oracle, and the commits that can be retried.
struct Pair {
    fixture: Fixture,
    model: Model,
    done: Vec<(OpId, Vec<Guard>, Vec<Op>, Rev)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_answer_as_the_oracle_does(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut pair = Pair { fixture: Fixture::new(), model: Model::default(), done: Vec::new() };
            for step in steps {
                pair.take(step).await;
            }
            pair.take(Step::Watch { prefix: 0, back: u64::MAX }).await;
        });
    }
}

impl Pair {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Commit { guards, ops } => self.commit(&guards, &ops).await,
            Step::Retry(n) => self.retry(n).await,
            Step::Get(n) => self.get(&choose_key(n)).await,
            Step::Scan { prefix, limit, back } => self.scan(&choose_prefix(prefix), limit, back).await,
            Step::Watch { prefix, back } => self.watch(&choose_prefix(prefix), back).await,
            Step::Reopen => self.fixture.reopen(),
        }
    }

    async fn commit(&mut self, guards: &[(u8, usize, bool)], ops: &BTreeMap<usize, Option<u8>>) {
        let guards: Vec<_> = guards.iter().map(|guard| self.guard(*guard)).collect();
        let ops: Vec<_> = ops
            .iter()
            .map(|(n, value)| match value {
                Some(value) => Op::put(choose_key(*n), vec![*value]),
                None => Op::delete(choose_key(*n)),
            })
            .collect();
        let id = OpId::random();
        let real = self.fixture.store().commit(id, guards.clone(), ops.clone()).await;
        assert_eq!(real, self.model.commit(&guards, &ops).map_err(CommitError::Conflict));
        if let Ok(rev) = real {
            self.done.push((id, guards, ops, rev));
        }
    }

    async fn retry(&self, n: usize) {
        if self.done.is_empty() {
            return;
        }
        let (id, guards, ops, rev) = self.done[n % self.done.len()].clone();
        assert_eq!(self.fixture.store().commit(id, guards, ops).await, Ok(rev));
    }

    async fn get(&self, key: &Key) {
        let real = self.fixture.store().get(key, Read::Linearizable).await;
        assert_eq!(real, Ok((self.model.get(key), self.model.head())));
    }

    async fn scan(&self, prefix: &Prefix, limit: u32, back: u64) {
        let at = self.back(back);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = self.fixture.store().scan(prefix, after.as_ref(), limit, Some(at)).await;
            let page = page.expect("nothing is compacted");
            assert!(page.entries.len() <= limit as usize);
            seen.extend(page.entries);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, self.model.scan(prefix, at));
    }

    async fn watch(&self, prefix: &Prefix, back: u64) {
        let after = self.back(back);
        let mut watch = self.fixture.store().watch(prefix.clone(), after);
        for expected in self.model.watch(prefix, after) {
            assert_eq!(watch.next().await, Ok(expected));
        }
    }

    fn guard(&self, (kind, n, current): (u8, usize, bool)) -> Guard {
        let key = choose_key(n);
        let rev = self.model.get(&key).map_or(Rev::ZERO, |entry| entry.mod_rev);
        match kind % 3 {
            0 => Guard::Absent(key),
            1 => Guard::Present(key),
            _ => Guard::ModRev(key, if current { rev } else { Rev(rev.0 + 1) }),
        }
    }

    fn back(&self, back: u64) -> Rev {
        Rev(self.model.head().0.saturating_sub(back))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let guards = vec((any::<u8>(), 0..KEYS.len(), prop::bool::weighted(0.8)), 0..3);
    let ops = prop::collection::btree_map(0..KEYS.len(), option::weighted(0.7, any::<u8>()), 0..5);
    let prefix = || 0..PREFIXES.len();
    prop_oneof![
        8 => (guards, ops).prop_map(|(guards, ops)| Step::Commit { guards, ops }),
        2 => any::<usize>().prop_map(Step::Retry),
        2 => (0..KEYS.len()).prop_map(Step::Get),
        2 => (prefix(), 1..5_u32, 0..20_u64).prop_map(|(prefix, limit, back)| Step::Scan { prefix, limit, back }),
        2 => (prefix(), 0..20_u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => Just(Step::Reopen),
    ]
}

fn choose_key(n: usize) -> Key {
    Key::new(KEYS[n]).expect("short keys")
}

fn choose_prefix(n: usize) -> Prefix {
    Prefix::new(PREFIXES[n]).expect("short prefixes")
}

/// Keys at the edges of each other's ranges.
const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a/", b"a/b", b"a/b\0", b"a/\xff", b"a/\xff\xff", b"a0", b"\xff\xff"];

const PREFIXES: [&[u8]; 6] = [b"", b"a", b"a/", b"a/\xff", b"\xff", b"none"];
