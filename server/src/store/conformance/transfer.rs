//! Export and import: the same keys and values in the same order of change, in another history.

use std::sync::Arc;

use super::{Chance, Factory, Verdict, commit, holds, key};
use crate::store::{Op, Prefix, Store, export};

/// Whether what one store exports and another imports is exported by that one again.
pub(in crate::store) fn keeps_what_it_must(from: &dyn Factory, to: &dyn Factory) -> Verdict {
    super::block_on(async {
        let (source, copy, again) = (from.fresh(), to.fresh(), from.fresh());
        let (source, copy, again) = (source.store(), copy.store(), again.store());
        let entries = fill(&source).await?;
        let first = exported(&*source).await?;
        let imported =
            export::import(&first[..], &*copy).await.map_err(|error| format!("an import: {error}"))?;
        holds(imported == entries, || format!("{imported} of {entries} entries were imported"))?;
        let second = exported(&*copy).await?;
        export::import(&second[..], &*again).await.map_err(|error| format!("an import: {error}"))?;
        same_order(&first, &second)?;
        holds(contents(&*source).await? == contents(&*again).await?, || "contents differ".into())?;
        holds(source.incarnation() != copy.incarnation(), || "the copy poses as its source".into())?;
        let cut = export::import(&first[..first.len() - 1], &*to.fresh().store()).await;
        holds(cut.is_err(), || "an export that was cut off was imported".into())
    })
}

/// Puts, changes and deletes; says how many entries are to be exported.
async fn fill(store: &Arc<dyn Store>) -> Result<u64, String> {
    let lease =
        store.grant_lease(std::time::Duration::from_secs(3600)).await.map_err(|error| error.to_string())?;
    commit(&**store, vec![Op::put_leased(key("leased"), "x", lease)]).await?;
    let mut chance = Chance::new(15);
    for n in 0..300_u64 {
        let name = |chance: &mut Chance, table: &str| key(format!("{table}/{}", chance.below(100)));
        let ops = vec![
            Op::put(name(&mut chance, "a"), vec![7; usize::try_from(chance.below(9000)).expect("small")]),
            Op::put(name(&mut chance, "b"), n.to_string().into_bytes()),
            Op::delete(name(&mut chance, "c")),
        ];
        commit(&**store, ops).await?;
    }
    Ok(contents(&**store).await?.len() as u64)
}

async fn exported(store: &dyn Store) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    export::export(store, &mut file).await.map_err(|error| format!("an export: {error}"))?;
    Ok(file)
}

async fn contents(store: &dyn Store) -> Result<Vec<(crate::store::Key, bytes::Bytes)>, String> {
    let (entries, _) = super::scan(store, &Prefix::all()).await?;
    Ok(entries.into_iter().filter(|(_, e)| e.lease.is_none()).map(|(key, e)| (key, e.value)).collect())
}

/// Revisions are others, but keys follow each other, and share a commit, as before.
fn same_order(first: &[u8], second: &[u8]) -> Verdict {
    let read = |file| {
        let (mut decoder, mut order, mut last) = (export::Decoder::new(file)?, Vec::new(), None);
        while let Some(entry) = decoder.next()? {
            order.push((entry.key, last.replace(entry.mod_rev) == Some(entry.mod_rev)));
        }
        Ok::<_, export::ImportError>(order)
    };
    let [first, second] = [read(first), read(second)].map(|order| order.map_err(|error| error.to_string()));
    holds(first? == second?, || "the order of changes differs".into())
}
