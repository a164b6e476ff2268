//! Between polls and the inventory: facts go in as they come, and who reads packets has given up its privileges.

use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use crate::directory::Member;
use crate::fact::Fact;
use crate::inventory::Inventory;

/// Takes in every fact of a poll until it is over.
pub(super) async fn learn<T>(
    inventory: &mut Inventory,
    poll: impl AsyncFnOnce(mpsc::Sender<Fact>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (tell, mut facts) = mpsc::channel(FACTS);
    let learning = async {
        while let Some(fact) = facts.recv().await {
            inventory.learn(&fact);
        }
    };
    // The channel closes with the poll that has its sender.
    tokio::join!(poll(tell), learning).0
}

/// Hands every account of a reading to `take` until it is over.
pub(super) async fn members<T>(
    mut take: impl FnMut(Member),
    read: impl AsyncFnOnce(mpsc::Sender<Member>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (tell, mut members) = mpsc::channel(FACTS);
    let taking = async {
        while let Some(member) = members.recv().await {
            take(member);
        }
    };
    tokio::join!(read(tell), taking).0
}

/// Ends a poll when somebody interrupts; what it has told by then counts.
pub(super) async fn interruptible<T>(poll: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        ended = poll => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// Runs a poll on a thread of its own: privileges belong to threads, and a poll gives up those of its own as soon as its
/// sockets are open. Whoever goes on polling keeps them and reads no packet.
pub(super) async fn apart<F, T>(poll: impl FnOnce() -> F + Send + 'static) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
    T: Send + 'static,
{
    let (tell, ended) = oneshot::channel();
    let run = move || {
        let ended = runtime().and_then(|runtime| runtime.block_on(poll()));
        // Nobody waits for it where the command was interrupted.
        let _ = tell.send(ended);
    };
    thread::Builder::new().name("poll".into()).spawn(run).map_err(Failure::Runtime)?;
    ended.await.unwrap_or(Err(Failure::Interrupted))
}

/// One thread: privileges belong to threads, and are given up before anything is read.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)
}

/// Facts on their way to the inventory.
pub(super) const FACTS: usize = 1024;
