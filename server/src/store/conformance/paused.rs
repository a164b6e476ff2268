//! A lease whose holder is another process, which the system stops and lets go on.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use super::{
    Factory, Verdict,
    holders::{acquire, write_under},
    holds,
    kill::{PLACE, start},
};
use crate::store::{Batch, CommitError, LeaseError, LeaseId, Prefix, Rev, Store};

/// What acts under the lease: it asks for something to be written whenever its process says so.
struct Holder {
    store: Arc<dyn Store>,
    lease: LeaseId,
    token: Rev,
}

/// Whether a process that holds a lease, is stopped beyond its end and goes on as if nothing had been is refused.
pub(in crate::store) fn does_no_harm(factory: &dyn Factory, test: &str) -> Verdict {
    let specimen = factory.fresh();
    let mut process = start(test, Path::new("-"));
    let wishes = wishes_of(&mut process);
    let verdict = super::block_on(outlived(specimen.store(), &process, &wishes));
    process.kill().and_then(|()| process.wait()).map_err(|error| error.to_string())?;
    verdict
}

/// What the process does that is stopped: it wishes to write, again and again; nothing unless it was started for that.
pub(in crate::store) fn wish_until_killed() {
    if env::var_os(PLACE).is_none() {
        return;
    }
    // The end of its pipe ends it too.
    while writeln!(std::io::stdout(), "{WISH}").is_ok() {
        thread::sleep(EACH);
    }
}

async fn outlived(store: Arc<dyn Store>, process: &Child, wishes: &Receiver<()>) -> Verdict {
    let (lease, token) = acquire(&store).await?.ok_or("nobody holds the lock")?;
    let mut watch = store.watch(Prefix::below(&["lock"]).expect("sound"), token);
    let holder = Holder { store: Arc::clone(&store), lease, token };
    for _ in 0..WISHES {
        wishes.recv().map_err(|error| error.to_string())?;
        holds(holder.acts().await?, || "a holder that lives was refused".into())?;
    }
    signal(process, "-STOP")?;
    gone(watch.next().await.map_err(|end| end.to_string())?)?;
    let (_, new) = acquire(&store).await?.ok_or("the lock is not free after its holder's lease")?;
    write_under(&store, new, "second").await.map_err(|error| format!("the new holder: {error}"))?;
    signal(process, "-CONT")?;
    for _ in 0..WISHES {
        wishes.recv().map_err(|error| error.to_string())?;
        holds(!holder.acts().await?, || "a process that slept through its lease wrote".into())?;
    }
    Ok(())
}

impl Holder {
    /// Keeps the lease alive and writes under its token; says whether it may. What refuses the one refuses the other.
    async fn acts(&self) -> Result<bool, String> {
        let written = write_under(&self.store, self.token, "first").await;
        let kept = self.store.keep_alive(self.lease).await;
        match (written, kept) {
            (Ok(_), Ok(())) => Ok(true),
            (Err(CommitError::Conflict(_)), Err(LeaseError::Gone(_))) => Ok(false),
            (written, kept) => Err(format!("written: {written:?}, kept alive: {kept:?}")),
        }
    }
}

fn wishes_of(process: &mut Child) -> Receiver<()> {
    let output = BufReader::new(process.stdout.take().expect("a pipe"));
    let (wish, wishes) = channel();
    thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter(|line| line.contains(WISH)).try_for_each(|_| wish.send(()))
    });
    wishes
}

fn signal(process: &Child, signal: &str) -> Verdict {
    let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
    holds(sent.is_ok_and(|status| status.success()), || format!("kill {signal} failed"))
}

fn gone(batch: Batch) -> Verdict {
    holds(batch.events.iter().all(|event| event.entry.is_none()), || format!("instead of an end: {batch:?}"))
}

const WISH: &str = "wish";
const WISHES: usize = 5;
/// Well below the life of the lease.
const EACH: Duration = Duration::from_millis(50);
