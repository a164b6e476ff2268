//! A reputation server of this process: knows every key, and takes as long as it is told to.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use klnet_ksnproxy::frame::Reason;
use klnet_ksnproxy::net::server::{Question, Reply, Server};
use klnet_ksnproxy::verdict::{Category, Reputation, Verdict};
use klnet_wire::identity::Role;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::rig::Rig;
use crate::fabric::Fabric;

/// It ends when it is dropped or told to.
pub(super) struct Cloud {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Seen {
    keys: AtomicU64,
    delay: AtomicU64,
    answered: Mutex<Option<Instant>>,
}

impl Cloud {
    /// Listens on the machine of those who ask: it has nothing to do while something is measured.
    pub(super) fn start(rig: &Rig, fabric: &Fabric) -> Result<Self> {
        let listener = rig.client.inside(|| TcpListener::bind((rig.client.address(), 1443)))??;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let identity = fabric.issue(Role::Server, rig.client.address())?;
        let server = Server::new(&identity, &fabric.trust, None)?;
        let seen = Arc::new(Seen::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let answering = Arc::clone(&seen);
        let answer = move |question| answer(question, Arc::clone(&answering));
        let inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        runtime.spawn(server.serve(listener, answer, CancellationToken::new()));
        drop(inside);
        Ok(Self { address, seen, runtime: Some(runtime) })
    }

    /// Closes its port and all connections.
    pub(super) fn stop(&mut self) {
        self.runtime = None;
    }

    /// Makes it answer so long after it was asked.
    pub(super) fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.seen.delay.store(delay, Ordering::Relaxed);
    }

    /// How many keys it was asked for.
    pub(super) fn keys(&self) -> u64 {
        self.seen.keys.load(Ordering::Relaxed)
    }

    /// When it answered last.
    pub(super) fn answered(&self) -> Option<Instant> {
        *self.seen.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(question: Question, seen: Arc<Seen>) -> Reply {
    let Question::Keys(keys) = question else { return Reply::Refused(Reason::Op) };
    seen.keys.fetch_add(keys.len() as u64, Ordering::Relaxed);
    let delay = Duration::from_millis(seen.delay.load(Ordering::Relaxed));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    *seen.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    Reply::Verdicts(vec![VERDICT; keys.len()])
}

/// What it says of everything.
pub(super) const VERDICT: Verdict = Verdict {
    reputation: Reputation::Malicious,
    category: Category::Malware,
    confidence: 90,
    ..Verdict::unknown(Duration::from_hours(24))
};
