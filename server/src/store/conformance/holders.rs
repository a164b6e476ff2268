//! Leases: what time does to them, and what they protect from.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Factory, Verdict, commit, entry, holds, key};
use crate::store::{
    Batch, CommitError, Guard, LEASE_LATENESS, LeaseError, LeaseId, Limits, Op, OpId, Prefix, Rev, Store,
    lease::LEASE_TTL_LEAST,
};

/// Whether leases end after their TTL and not long after, as one commit.
pub(in crate::store) fn end_in_time(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let specimen = factory.fresh();
        let store = specimen.store();
        let mut watch = store.watch(Prefix::all(), Rev::ZERO);
        let begun = Instant::now();
        let short = grant(&*store, TTL).await?;
        let kept = grant(&*store, 2 * TTL).await?;
        let leased = |lease| move |name| Op::put_leased(key(name), "x", lease);
        let mut both: Vec<Op> = ["a", "b", "c"].map(leased(short)).into();
        both.push(leased(kept)("k"));
        let put = commit(&*store, [both, vec![Op::put(key("free"), "x")]].concat()).await?;
        same_rev(watch.next().await.map_err(|end| end.to_string())?, put)?;

        let ended = watch.next().await.map_err(|end| end.to_string())?;
        in_time("a lease", begun, TTL)?;
        deletes(&ended, &["a", "b", "c"])?;
        // The end of the one is the clock by which the other is kept alive.
        let renewed = Instant::now();
        store.keep_alive(kept).await.map_err(|error| format!("a lease that lives: {error}"))?;
        deletes(&watch.next().await.map_err(|end| end.to_string())?, &["k"])?;
        in_time("a lease kept alive", renewed, 2 * TTL)?;
        let gone = store.keep_alive(kept).await;
        holds(gone == Err(LeaseError::Gone(kept)), || {
            format!("a lease that ended was kept alive: {gone:?}")
        })?;
        holds(entry(&*store, &key("free")).await?.is_some(), || "what has no lease went with one".into())
    })
}

/// Whether a holder that slept through its lease can do no harm.
pub(in crate::store) fn are_fenced(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let specimen = factory.fresh();
        let store = specimen.store();
        let mut watch = store.watch(Prefix::below(&["lock"]).expect("sound"), Rev::ZERO);
        let (asleep, old) = acquire(&store).await?.ok_or("nobody holds the lock")?;
        write_under(&store, old, "first").await.map_err(|error| format!("the holder: {error}"))?;
        holds(acquire(&store).await?.is_none(), || "two hold the lock".into())?;
        // It does not keep its lease alive, for it sleeps.
        while watch
            .next()
            .await
            .map_err(|end| end.to_string())?
            .events
            .iter()
            .any(|event| event.entry.is_some())
        {}
        let (_, new) = acquire(&store).await?.ok_or("the lock is not free after its holder's lease")?;
        holds(new > old, || format!("token {new} is not above {old}"))?;
        write_under(&store, new, "second").await.map_err(|error| format!("the new holder: {error}"))?;
        // Now it wakes.
        let zombie = write_under(&store, old, "zombie").await;
        holds(matches!(zombie, Err(CommitError::Conflict(_))), || format!("a zombie wrote: {zombie:?}"))?;
        let kept = store.keep_alive(asleep).await;
        holds(kept == Err(LeaseError::Gone(asleep)), || format!("a zombie's lease: {kept:?}"))?;
        let value = entry(&*store, &key("protected")).await?.map(|entry| entry.value);
        holds(value.as_deref() == Some(b"second"), || format!("protected: {value:?}"))
    })
}

/// Whether leases hold as many keys as they may, lose those that are put or deleted otherwise, and refuse what ended.
pub(in crate::store) fn hold_what_they_may(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let specimen = factory.fresh();
        let store = specimen.store();
        let lease = grant(&*store, LONG).await?;
        let limit = Limits::COMMON.ops;
        let leased = |n: usize| Op::put_leased(key(format!("k{n}")), "x", lease);
        commit(&*store, (0..limit).map(leased).collect()).await?;
        let more = store.commit(OpId::random(), Vec::new(), vec![leased(limit)]).await;
        holds(more == Err(CommitError::LeaseFull { lease, limit }), || {
            format!("one key too many: {more:?}")
        })?;
        commit(&*store, vec![Op::put(key("k0"), "free"), leased(limit), leased(1)]).await?;
        commit(&*store, vec![Op::delete(key("k2"))]).await?;
        store.revoke_lease(lease).await.map_err(|error| format!("a revocation: {error}"))?;
        let (left, _) = super::scan(&*store, &Prefix::all()).await?;
        let left: Vec<_> = left.iter().map(|(key, _)| key.to_string()).collect();
        holds(left == ["k0"], || format!("left after the lease: {left:?}"))?;
        let late = store.commit(OpId::random(), Vec::new(), vec![leased(1)]).await;
        holds(late == Err(CommitError::NoLease(lease)), || {
            format!("a put under a lease that ended: {late:?}")
        })?;
        let short = LEASE_TTL_LEAST - Duration::from_millis(1);
        let refused = store.grant_lease(short).await;
        holds(refused == Err(LeaseError::Ttl { asked: short }), || format!("too short a lease: {refused:?}"))
    })
}

/// Whether a store that was opened again gives leases their whole TTL.
pub(in crate::store) fn begin_anew(factory: &dyn Factory) -> Verdict {
    super::block_on(async {
        let mut specimen = factory.fresh();
        let store = specimen.store();
        let lease = grant(&*store, 2 * TTL).await?;
        let clock = grant(&*store, TTL).await?;
        let rev =
            commit(&*store, vec![Op::put_leased(key("a"), "x", lease), Op::put_leased(key("c"), "x", clock)])
                .await?;
        let mut watch = store.watch(Prefix::all(), rev);
        deletes(&watch.next().await.map_err(|end| end.to_string())?, &["c"])?;
        drop((store, watch));
        let begun = Instant::now();
        specimen.durable().ok_or("the backend claims no durability")?.reopen();
        let store = specimen.store();
        let batch = store.watch(Prefix::all(), rev.next()).next().await.map_err(|end| end.to_string())?;
        deletes(&batch, &["a"])?;
        in_time("a lease after a restart", begun, 2 * TTL)
    })
}

async fn grant(store: &dyn Store, ttl: Duration) -> Result<LeaseId, String> {
    store.grant_lease(ttl).await.map_err(|error| format!("a grant: {error}"))
}

/// Takes the lock, if it is free; the token is the revision of its key.
pub(super) async fn acquire(store: &Arc<dyn Store>) -> Result<Option<(LeaseId, Rev)>, String> {
    let lease = grant(&**store, TTL).await?;
    let take = vec![Op::put_leased(key("lock/holder"), "me", lease)];
    match store.commit(OpId::random(), vec![Guard::Absent(key("lock/holder"))], take).await {
        Ok(token) => Ok(Some((lease, token))),
        Err(CommitError::Conflict(_)) => Ok(None),
        Err(error) => Err(format!("taking the lock: {error}")),
    }
}

pub(super) async fn write_under(
    store: &Arc<dyn Store>,
    token: Rev,
    value: &'static str,
) -> Result<Rev, CommitError> {
    let fence = Guard::ModRev(key("lock/holder"), token);
    store.commit(OpId::random(), vec![fence], vec![Op::put(key("protected"), value)]).await
}

fn in_time(what: &str, since: Instant, ttl: Duration) -> Verdict {
    let took = since.elapsed();
    let latest = ttl + LEASE_LATENESS + SLACK;
    holds((ttl..latest).contains(&took), || format!("{what} of {ttl:?} ended after {took:?}"))
}

fn deletes(batch: &Batch, names: &[&str]) -> Verdict {
    let deleted: Vec<_> = batch.events.iter().filter(|event| event.entry.is_none()).collect();
    let deleted: Vec<_> = deleted.iter().map(|event| event.key.to_string()).collect();
    holds(deleted == names && batch.events.len() == names.len(), || {
        format!("instead of {names:?}: {batch:?}")
    })
}

fn same_rev(batch: Batch, rev: Rev) -> Verdict {
    holds(batch.rev == rev, || format!("instead of {rev}: {batch:?}"))
}

const TTL: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(4);
