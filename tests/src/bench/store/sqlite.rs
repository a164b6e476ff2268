//! Our store, through its contract.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use klnet_server::store::{Guard, Key, Op, OpId, Rev, SqliteStore, Store};

use super::effort::Effort;
use super::load::{self, VALUE, WRITERS, Writer};
use crate::bench::Samples;
use crate::system;

struct Ours {
    store: Arc<SqliteStore>,
    key: Key,
    last: Option<Rev>,
}

impl Writer for Ours {
    async fn write(&mut self) -> Result<()> {
        let key = || self.key.clone();
        let guard = self.last.map_or_else(|| Guard::Absent(key()), |rev| Guard::ModRev(key(), rev));
        let put = Op::put(key(), vec![7; VALUE]);
        self.last = Some(self.store.commit(OpId::random(), vec![guard], vec![put]).await?);
        Ok(())
    }
}

/// A new store, written to for a while.
pub(super) fn sample(effort: &Effort) -> Result<Samples<2>> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let store = Arc::new(SqliteStore::open(&folder.path().join("state.db"))?);
    let writer = |n| Ok(Ours { store: Arc::clone(&store), key: Key::new(load::key(n))?, last: None });
    let writers = (0..WRITERS).map(writer).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = system::own_cpu_time()?;
    let figures = runtime.block_on(load::measure(writers, effort))?;
    let cpu: Duration = system::own_cpu_time()?.saturating_sub(before);
    Ok(Samples { figures, cpu })
}
