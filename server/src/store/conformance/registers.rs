//! Concurrent histories: each key is a register, and there must be one order of all that was done to it which everybody's
//! answers agree with and which respects who had finished before whom (Wing and Gong, 1993). A commit whose outcome
//! nobody waited for may come anywhere after its beginning, or never.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use super::{Chance, Factory, Verdict};
use crate::store::{CommitError, Guard, Key, Op, OpId, Read, Rev, Store};

/// The value of a register: a number that is put once only, or none.
type Value = Option<u64>;

/// Something done to a register, from `begun` to `ended` on one clock.
#[derive(Clone, Copy, Debug)]
struct Call {
    begun: u64,
    /// `None` for what nobody waited for.
    ended: Option<u64>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Read this.
    Read(Value),
    /// Put this, whatever was there.
    Put(u64),
    /// Put the second if the first was there, and it was.
    Swapped(Value, u64),
    /// The same, but something else was there.
    Refused(Value),
    /// Put the second if the first was there, and nobody knows.
    Unknown(Value, u64),
}

/// Whether histories of several clients have an order each.
pub(in crate::store) fn have_one_order(factory: &dyn Factory, rounds: u64) -> Verdict {
    (0..rounds).try_for_each(|round| {
        let store = factory.fresh();
        let calls = super::block_on(run(&store.store(), round))?;
        calls.into_iter().try_for_each(|calls| {
            super::holds(has_an_order(&calls), || format!("round {round}: no order explains {calls:?}"))
        })
    })
}

/// Lets clients loose on a few registers, and gives what was done to each.
async fn run(store: &Arc<dyn Store>, round: u64) -> Result<Vec<Vec<Call>>, String> {
    let shared = Arc::new(Shared::default());
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (store, shared) = (Arc::clone(store), Arc::clone(&shared));
        let chance = Chance::new(round * CLIENTS + client);
        clients.spawn(async move {
            Client { store, shared, chance, seen: [(None, None); REGISTERS] }.run().await
        });
    }
    clients.join_all().await.into_iter().collect::<Verdict>()?;
    let calls = shared.calls.lock().map_err(|_| "a client panicked")?;
    Ok((0..REGISTERS)
        .map(|n| calls.iter().filter(|(of, _)| *of == n).map(|(_, call)| *call).collect())
        .collect())
}

#[derive(Debug, Default)]
struct Shared {
    clock: AtomicU64,
    values: AtomicU64,
    calls: Mutex<Vec<(usize, Call)>>,
}

struct Client {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    chance: Chance,
    /// What it last saw in each register, and the revision it was put at.
    seen: [(Value, Option<Rev>); REGISTERS],
}

impl Client {
    async fn run(mut self) -> Verdict {
        for _ in 0..CALLS {
            let register = usize::try_from(self.chance.below(REGISTERS as u64)).expect("few");
            match self.chance.below(4) {
                0 => self.put(register).await?,
                1 | 2 => self.swap(register).await?,
                _ => self.read(register).await?,
            }
        }
        Ok(())
    }

    async fn read(&mut self, register: usize) -> Verdict {
        let begun = self.now();
        let read = self.store.get(&key(register), Read::Linearizable).await;
        let (entry, _) = read.map_err(|error| format!("a read: {error}"))?;
        let value = entry.as_ref().map(|entry| number(&entry.value));
        self.seen[register] = (value, entry.map(|entry| entry.mod_rev));
        self.note(register, begun, true, What::Read(value));
        Ok(())
    }

    async fn put(&mut self, register: usize) -> Verdict {
        let (begun, value) = (self.now(), self.value());
        let put = vec![Op::put(key(register), value.to_string().into_bytes())];
        let put = self.store.commit(OpId::random(), Vec::new(), put).await;
        let rev = put.map_err(|error| format!("a put: {error}"))?;
        self.seen[register] = (Some(value), Some(rev));
        self.note(register, begun, true, What::Put(value));
        Ok(())
    }

    async fn swap(&mut self, register: usize) -> Verdict {
        let ((expected, rev), begun, value) = (self.seen[register], self.now(), self.value());
        let guard = rev.map_or(Guard::Absent(key(register)), |rev| Guard::ModRev(key(register), rev));
        let put = vec![Op::put(key(register), value.to_string().into_bytes())];
        let drops = self.chance.one_in(8);
        let mut swap = self.store.commit(OpId::random(), vec![guard], put);
        let early =
            if drops { swap.as_mut().poll(&mut Context::from_waker(Waker::noop())) } else { Poll::Pending };
        let done = match early {
            Poll::Ready(done) => done,
            Poll::Pending if drops => {
                drop(swap);
                self.note(register, begun, false, What::Unknown(expected, value));
                return Ok(());
            }
            Poll::Pending => swap.await,
        };
        let what = match done {
            Ok(rev) => {
                self.seen[register] = (Some(value), Some(rev));
                What::Swapped(expected, value)
            }
            Err(CommitError::Conflict(_)) => What::Refused(expected),
            Err(error) => return Err(format!("a swap: {error}")),
        };
        self.note(register, begun, true, what);
        Ok(())
    }

    fn note(&self, register: usize, begun: u64, ended: bool, what: What) {
        let ended = ended.then(|| self.now());
        self.shared.calls.lock().expect("nobody panics").push((register, Call { begun, ended, what }));
    }

    fn now(&self) -> u64 {
        self.shared.clock.fetch_add(1, SeqCst)
    }

    fn value(&self) -> u64 {
        self.shared.values.fetch_add(1, SeqCst)
    }
}

/// Searches for an order, remembering where it has been: which calls are in it already, and what the register holds.
fn has_an_order(calls: &[Call]) -> bool {
    let waited_for =
        (0..calls.len()).filter(|n| calls[*n].ended.is_some()).fold(0_u128, |set, n| set | 1 << n);
    let (mut been, mut left) = (HashSet::new(), vec![(0_u128, None)]);
    while let Some((done, value)) = left.pop() {
        if done & waited_for == waited_for {
            return true;
        }
        if !been.insert((done, value)) {
            continue;
        }
        let open = |n: &usize| done & (1 << *n) == 0;
        // Whatever ended before another call began comes before it.
        let first_end =
            (0..calls.len()).filter(open).filter_map(|n| calls[n].ended).min().unwrap_or(u64::MAX);
        let next = (0..calls.len()).filter(open).filter(|n| calls[*n].begun < first_end);
        left.extend(next.filter_map(|n| Some((done | 1 << n, after(value, calls[n].what)?))));
    }
    false
}

/// What a register holds after a call, if it can have come to this end.
fn after(value: Value, what: What) -> Option<Value> {
    match what {
        What::Read(read) => (read == value).then_some(value),
        What::Put(new) => Some(Some(new)),
        What::Swapped(expected, new) => (expected == value).then_some(Some(new)),
        What::Refused(expected) => (expected != value).then_some(value),
        What::Unknown(expected, new) => Some(if expected == value { Some(new) } else { value }),
    }
}

fn key(register: usize) -> Key {
    super::key(format!("register/{register}"))
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

const CLIENTS: u64 = 4;
const REGISTERS: usize = 3;
/// Of each client; all of a register's calls fit into the bits of a set.
const CALLS: usize = 60;

#[test]
fn search_finds_an_order_and_refuses_what_has_none() {
    let call = |begun, ended, what| Call { begun, ended, what };
    let put = call(0, Some(3), What::Put(1));
    assert!(has_an_order(&[put, call(1, Some(2), What::Read(None))]), "the read may come first");
    assert!(has_an_order(&[put, call(1, Some(2), What::Read(Some(1)))]), "or second");
    assert!(!has_an_order(&[put, call(4, Some(5), What::Read(None))]), "but not after it was over");
    let lost = call(0, None, What::Unknown(None, 7));
    let early = call(5, Some(6), What::Read(None));
    assert!(has_an_order(&[lost, early, call(7, Some(8), What::Read(Some(7)))]), "late");
    assert!(has_an_order(&[lost, early, call(7, Some(8), What::Read(None))]), "never");
    assert!(!has_an_order(&[lost, call(3, Some(4), What::Read(Some(7))), early]), "not undone");
}
