//! Random histories, against the oracle. A history that fails is shrunk to the fewest steps that still do.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

use super::{Factory, Specimen, Verdict, oracle::Oracle};
use crate::store::{
    CommitError, Guard, Key, LeaseId, Op, OpId, Prefix, Read, Rev, Store, lease::LEASE_TTL_LIMIT,
};

/// One step of a history; numbers choose among what exists.
#[derive(Clone, Debug)]
enum Step {
    Commit { guards: Vec<(u8, usize, bool)>, ops: BTreeMap<usize, Option<(u8, u8)>> },
    Retry(usize),
    Get(usize),
    Scan { prefix: usize, limit: u32, back: u64 },
    Watch { prefix: usize, back: u64 },
    Survivors { back: u64 },
    Compact { back: u64 },
    Grant,
    Revoke(usize),
    Reopen,
}

/// Whether every one of `cases` random histories is answered as the oracle does.
pub(in crate::store) fn answer_as_the_oracle(factory: &dyn Factory, cases: u32) -> Verdict {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&vec(step(), 1..60), |steps| {
        super::block_on(async { Pair::new(factory).take_all(steps).await }).map_err(TestCaseError::fail)
    });
    ran.map_err(|error| match error {
        TestError::Fail(why, steps) => format!("{why}, after {steps:?}"),
        TestError::Abort(why) => why.to_string(),
    })
}

/// A store, its oracle, and what can be asked for again.
struct Pair {
    specimen: Box<dyn Specimen>,
    oracle: Oracle,
    done: Vec<(OpId, Vec<Guard>, Vec<Op>, Rev)>,
    leases: Vec<LeaseId>,
}

impl Pair {
    fn new(factory: &dyn Factory) -> Self {
        Self { specimen: factory.fresh(), oracle: Oracle::default(), done: Vec::new(), leases: Vec::new() }
    }

    async fn take_all(mut self, steps: Vec<Step>) -> Verdict {
        for step in steps {
            self.take(step).await?;
        }
        self.take(Step::Survivors { back: 0 }).await?;
        self.take(Step::Watch { prefix: 0, back: 0 }).await
    }

    async fn take(&mut self, step: Step) -> Verdict {
        let store = self.specimen.store();
        match step {
            Step::Commit { guards, ops } => self.commit(&*store, &guards, &ops).await,
            Step::Retry(n) => self.retry(&*store, n).await,
            Step::Get(n) => {
                let (key, real) = (choose_key(n), store.get(&choose_key(n), Read::Linearizable).await);
                same("a read", real, Ok((self.oracle.get(&key), self.oracle.head())))
            }
            Step::Scan { prefix, limit, back } => {
                let (prefix, at) = (choose_prefix(prefix), self.back(back));
                same("a scan", pages(&*store, &prefix, limit, at).await, self.oracle.scan(&prefix, at))?;
                let contents = super::contents(&*store, vec![prefix.clone()], at).await;
                same("the contents", contents, self.oracle.scan(&prefix, at))
            }
            Step::Watch { prefix, back } => self.watch(&*store, &choose_prefix(prefix), back).await,
            Step::Survivors { back } => self.survivors(&*store, back).await,
            Step::Compact { back } => {
                let oldest = self.back(back);
                same("a compaction", store.compact(oldest).await, self.oracle.compact(oldest))
            }
            Step::Grant => self.grant(&*store).await,
            Step::Revoke(n) => self.revoke(&*store, n).await,
            Step::Reopen => {
                drop(store);
                self.specimen.durable().into_iter().for_each(|durable| durable.reopen());
                Ok(())
            }
        }
    }

    async fn commit(
        &mut self,
        store: &dyn Store,
        guards: &[(u8, usize, bool)],
        ops: &BTreeMap<usize, Option<(u8, u8)>>,
    ) -> Verdict {
        let guards: Vec<_> = guards.iter().map(|guard| self.guard(*guard)).collect();
        let ops: Vec<_> = ops.iter().map(|(n, value)| self.op(*n, *value)).collect();
        let id = OpId::random();
        let real = store.commit(id, guards.clone(), ops.clone()).await;
        same("a commit", real.clone(), self.oracle.commit(&guards, &ops))?;
        self.done.extend(real.ok().map(|rev| (id, guards, ops, rev)));
        Ok(())
    }

    async fn retry(&self, store: &dyn Store, n: usize) -> Verdict {
        let Some((id, guards, ops, rev)) = n.checked_rem(self.done.len()).map(|n| self.done[n].clone())
        else {
            return Ok(());
        };
        same("a retry", store.commit(id, guards.clone(), ops.clone()).await, Ok(rev))?;
        let other = OpId { principal: [1; 16], ..id };
        let expected = Err(CommitError::Reused(id));
        same(
            "a reused id",
            store.commit(id, guards, [&ops[..], &[Op::delete(spare())]].concat()).await,
            expected,
        )?;
        // Somebody else's id is another id, whatever its bytes; the guard keeps it from changing anything.
        let refused = store.commit(other, vec![Guard::Present(spare())], ops).await;
        super::holds(matches!(refused, Err(CommitError::Conflict(_))), || {
            format!("another's id: {refused:?}")
        })
    }

    async fn watch(&self, store: &dyn Store, prefix: &Prefix, back: u64) -> Verdict {
        let after = self.back(back);
        let mut watch = store.watch(prefix.clone(), after);
        match self.oracle.watch(prefix, after) {
            Err(end) => same("a watch", watch.next().await, Err(end)),
            Ok(batches) => {
                for expected in batches {
                    same("a watch", watch.next().await, Ok(expected))?;
                }
                Ok(())
            }
        }
    }

    async fn survivors(&self, store: &dyn Store, back: u64) -> Verdict {
        let (at, mut after, mut seen) = (self.back(back), Rev::ZERO, Vec::new());
        let real = loop {
            let page = match store.survivors(after, Some(at)).await {
                Ok(page) => page,
                Err(error) => break Err(error),
            };
            seen.extend(page.batches);
            match page.next {
                Some(next) => after = next,
                None => break Ok(seen),
            }
        };
        same("the survivors", real, self.oracle.survivors(Rev::ZERO, at))
    }

    async fn grant(&mut self, store: &dyn Store) -> Verdict {
        let lease = store.grant_lease(TTL).await.map_err(|error| format!("a grant: {error}"))?;
        self.oracle.grant(lease);
        self.leases.push(lease);
        same("a lease kept alive", store.keep_alive(lease).await, Ok(()))
    }

    async fn revoke(&mut self, store: &dyn Store, n: usize) -> Verdict {
        let Some(lease) = n.checked_rem(self.leases.len()).map(|n| self.leases[n]) else { return Ok(()) };
        let real = store.revoke_lease(lease).await;
        super::holds(real.is_ok() == self.oracle.is_alive(lease), || format!("a revocation: {real:?}"))?;
        self.oracle.end(lease);
        super::holds(store.keep_alive(lease).await.is_err(), || "a lease that ended was kept alive".into())
    }

    fn op(&self, n: usize, value: Option<(u8, u8)>) -> Op {
        let key = choose_key(n);
        match value {
            None => Op::delete(key),
            Some((value, lease)) => match usize::from(lease).checked_rem(self.leases.len()) {
                Some(lease) if value % 2 == 0 => Op::put_leased(key, vec![value], self.leases[lease]),
                _ => Op::put(key, vec![value]),
            },
        }
    }

    fn guard(&self, (kind, n, current): (u8, usize, bool)) -> Guard {
        let key = choose_key(n);
        let rev = self.oracle.get(&key).map_or(Rev::ZERO, |entry| entry.mod_rev);
        match kind % 3 {
            0 => Guard::Absent(key),
            1 => Guard::Present(key),
            _ => Guard::ModRev(key, if current { rev } else { Rev(rev.0 + 1) }),
        }
    }

    fn back(&self, back: u64) -> Rev {
        Rev(self.oracle.head().0.saturating_sub(back))
    }
}

async fn pages(
    store: &dyn Store,
    prefix: &Prefix,
    limit: u32,
    at: Rev,
) -> Result<Vec<(Key, crate::store::Entry)>, crate::store::ReadError> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(prefix, after.as_ref(), limit, Some(at)).await?;
        seen.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return Ok(seen);
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: T, expected: T) -> Verdict {
    super::holds(real == expected, || format!("{what} gave {real:?} instead of {expected:?}"))
}

fn step() -> impl Strategy<Value = Step> {
    let guards = vec((any::<u8>(), 0..KEYS.len(), prop::bool::weighted(0.8)), 0..3);
    let ops = btree_map(0..KEYS.len(), option::weighted(0.7, any::<(u8, u8)>()), 0..5);
    let (prefix, back) = (|| 0..PREFIXES.len(), || 0..20_u64);
    prop_oneof![
        8 => (guards, ops).prop_map(|(guards, ops)| Step::Commit { guards, ops }),
        2 => any::<usize>().prop_map(Step::Retry),
        2 => (0..KEYS.len()).prop_map(Step::Get),
        2 => (prefix(), 1..5_u32, back()).prop_map(|(prefix, limit, back)| Step::Scan { prefix, limit, back }),
        2 => (prefix(), back()).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => back().prop_map(|back| Step::Survivors { back }),
        1 => back().prop_map(|back| Step::Compact { back }),
        2 => Just(Step::Grant),
        1 => any::<usize>().prop_map(Step::Revoke),
        1 => Just(Step::Reopen),
    ]
}

fn choose_key(n: usize) -> Key {
    Key::new(KEYS[n]).expect("short keys")
}

fn choose_prefix(n: usize) -> Prefix {
    Prefix::new(PREFIXES[n]).expect("short prefixes")
}

/// A key that nobody puts.
fn spare() -> Key {
    Key::new("spare").expect("short")
}

/// Keys at the edges of each other's ranges.
const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a/", b"a/b", b"a/b\0", b"a/\xff", b"a/\xff\xff", b"a0", b"\xff\xff"];

const PREFIXES: [&[u8]; 6] = [b"", b"a", b"a/", b"a/\xff", b"\xff", b"none"];

/// Longer than any history.
const TTL: Duration = LEASE_TTL_LIMIT;
