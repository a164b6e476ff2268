//! The edges: limits at and one past each, what is dropped half-way, ids used twice.

use std::task::{Context, Waker};

use super::{Factory, Verdict, commit, entry, holds, key};
use crate::store::{CommitError, Guard, Key, LimitError, Limits, Op, OpId};

/// Whether commits at each limit are taken, and those one past it refused without a trace.
pub(in crate::store) fn are_where_they_are_said_to_be(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let specimen = factory.fresh();
        let store = specimen.store();
        let limits = store.limits();
        holds(limits == Limits::COMMON, || format!("limits of its own: {limits:?}"))?;
        let value = |length| Op::put(key("value"), vec![7; length]);
        let ops =
            |count: usize| (0..count).map(|n| Op::put(key(format!("op {n:02}")), "x")).collect::<Vec<_>>();
        // Keys of five bytes each.
        let half = |n: usize, length| Op::put(key(format!("half{n}")), vec![7; length]);
        let longest = Op::put(Key::new(vec![b'k'; limits.key]).map_err(|error| error.to_string())?, "x");
        let at = [
            vec![value(limits.value)],
            vec![longest],
            ops(limits.ops),
            vec![half(0, limits.commit / 2 - 5), half(1, limits.commit / 2 - 5)],
        ];
        for ops in at {
            let keys: Vec<_> = ops.iter().map(|op| (op.key().clone(), op.value().cloned())).collect();
            commit(&*store, ops).await?;
            for (key, value) in keys {
                let kept = entry(&*store, &key).await?.map(|entry| entry.value);
                holds(kept == value, || format!("{key} is not as it was put"))?;
            }
        }
        let past = [
            (vec![value(limits.value + 1)], "value"),
            (ops(limits.ops + 1), "ops"),
            (vec![half(0, limits.commit / 2 - 5), half(1, limits.commit / 2 - 4)], "commit"),
            (vec![Op::put(key("a"), "x"), Op::delete(key("a"))], "twice"),
        ];
        for (ops, what) in past {
            let refused = store.commit(OpId::random(), Vec::new(), ops).await;
            let right = matches!(
                (what, &refused),
                ("value", Err(CommitError::TooLarge(LimitError::Value { .. })))
                    | ("ops", Err(CommitError::TooLarge(LimitError::Ops { .. })))
                    | ("commit", Err(CommitError::TooLarge(LimitError::Commit { .. })))
                    | ("twice", Err(CommitError::TooLarge(LimitError::Twice { .. })))
            );
            holds(right, || format!("one past the limit of {what}: {refused:?}"))?;
        }
        holds(entry(&*store, &key("a")).await?.is_none(), || "a refused commit left a trace".into())
    })
}

/// Whether a commit that nobody waits for is applied whole or not at all, and a retry under its id tells.
pub(in crate::store) fn tell_what_became_of_it(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let specimen = factory.fresh();
        let store = specimen.store();
        for n in 0..100_u8 {
            let id = OpId { principal: [n; 16], id: [n; 16] };
            let names = [format!("left {n}"), format!("right {n}")];
            let ops = || names.iter().map(|name| Op::put(key(name.clone()), vec![n])).collect::<Vec<_>>();
            let guards = || vec![Guard::Absent(key(names[0].clone()))];
            let mut dropped = store.commit(id, guards(), ops());
            let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(dropped);
            let rev = store.commit(id, guards(), ops()).await.map_err(|error| format!("a retry: {error}"))?;
            for name in &names {
                let kept = entry(&*store, &key(name.clone())).await?.map(|entry| entry.mod_rev);
                holds(kept == Some(rev), || format!("{name} is at {kept:?}, not {rev}"))?;
            }
            let reused = store.commit(id, Vec::new(), ops()).await;
            holds(reused == Err(CommitError::Reused(id)), || format!("a reused id: {reused:?}"))?;
        }
        Ok(())
    })
}
