//! Connections ahead of need: end to end, handshake done, GO not said. Who needs one pays for GO's round trip only.
//!
//! Nothing is kept before the session's first connection has been answered: a handshake alone would begin the session
//! at the relay. After the last use the stock is kept for a while, then runs out, and the next use fills it again.
//! What is kept counts against the grant: it is never there in place of a connection that somebody wants.
//!
//! The stock sits behind a lock, not with a task of its own: taking a connection must not cost two switches of tasks,
//! which on one machine take longer than the exchange that is saved. A task only watches over what waits.

mod stock;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::clock::until;
use super::initiator::{ANSWER_TIMEOUT, ConnectError, Connection, Handshaken, Initiator, Lease};
use crate::stream::{READY_LIFE, Refusal};
use crate::target::DIAL_WAIT;
use stock::{Output, Stock};

/// Opens the connections of a session, some of them ahead of need.
#[derive(Debug)]
pub struct Ready {
    shared: Arc<Shared>,
}

/// How many connections are kept ready, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How many; 0 keeps none.
    pub streams: usize,
    /// For how long after the last use.
    pub warm: Duration,
}

#[derive(Debug)]
struct Shared {
    initiator: Initiator,
    keeps: bool,
    stock: Mutex<Stock<Handshaken, Waiter>>,
    /// The keeper has more to watch than when it last looked.
    changed: Notify,
    runtime: Handle,
}

/// Who waits gets the place with the connection: whoever goes meanwhile gives back both.
type Waiter = oneshot::Sender<Result<(Handshaken, Lease), ConnectError>>;

impl Default for Config {
    fn default() -> Self {
        Self { streams: DEFAULT_STREAMS, warm: DEFAULT_WARM }
    }
}

impl Ready {
    /// Keeps connections of `initiator`'s session ready.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(initiator: Initiator, config: Config) -> Self {
        let grant = initiator.grant();
        let limit = usize::try_from(grant.connections.get()).unwrap_or(usize::MAX);
        let stock = Stock::new(config, limit, READY_LIFE.min(grant.idle));
        let shared = Arc::new(Shared {
            initiator,
            keeps: config.streams > 0,
            stock: Mutex::new(stock),
            changed: Notify::new(),
            runtime: Handle::current(),
        });
        if shared.keeps {
            tokio::spawn(shared.clone().keep());
        }
        Self { shared }
    }

    /// The initiator whose connections these are.
    pub fn initiator(&self) -> &Initiator {
        &self.shared.initiator
    }

    /// Opens a connection: by GO on one that is ready, else from the beginning. One that turns out to be stale is
    /// passed over.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let Shared { initiator, keeps, .. } = &*self.shared;
        if !keeps {
            return initiator.connect().await;
        }
        let asked = Instant::now();
        for _ in 0..STALE_TRIES {
            let Some((handshaken, lease)) = self.take() else { break };
            match initiator.go(handshaken, asked, READY_ANSWER_TIMEOUT).await {
                Err(error) if may_be_stale(&error) => {
                    tracing::debug!(%error, "a connection that was ready is not");
                    drop(lease);
                    self.drop_others(&error).await;
                }
                answered => return self.answered(answered, lease),
            }
        }
        let (handshaken, lease) = self.open().await?;
        self.answered(initiator.go(handshaken, asked, ANSWER_TIMEOUT).await, lease)
    }

    /// Ends what is ready, in order. Dropping does so as well, as long as the runtime lives.
    pub async fn close(&self) {
        let closing: Vec<_> =
            self.shared.change(Stock::give_up).into_iter().map(close).map(tokio::spawn).collect();
        for closed in closing {
            // How it ends is of no interest to anybody.
            let _ = closed.await;
        }
    }

    /// One that is ready and has not ended.
    fn take(&self) -> Option<(Handshaken, Lease)> {
        loop {
            let handshaken = self.shared.change(Stock::take)?;
            let lease = self.shared.lease();
            if is_quiet(&handshaken) {
                return Some((handshaken, lease));
            }
        }
    }

    /// One that is opened now, or was on its way.
    async fn open(&self) -> Result<(Handshaken, Lease), ConnectError> {
        let (waiter, handed) = oneshot::channel();
        self.shared.change(|stock, now| stock.wait(now, waiter));
        handed.await.expect("every handshake ends, and who waits hears of it")
    }

    fn answered(
        &self,
        answered: Result<Connection, ConnectError>,
        lease: Lease,
    ) -> Result<Connection, ConnectError> {
        let connection = answered?;
        self.shared.change(Stock::answered);
        Ok(Connection { lease: Some(lease), ..connection })
    }

    /// Where the grant or device has too many connections, those that are ready are what it can do without; and where
    /// one has met silence, the others would.
    async fn drop_others(&self, error: &ConnectError) {
        match error {
            ConnectError::Refused { reason: Refusal::TooMany, .. } => self.close().await,
            ConnectError::NoAnswer(_) => self.shared.change(Stock::give_up).into_iter().for_each(drop),
            _ => {}
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        for handshaken in self.shared.change(Stock::end) {
            self.shared.runtime.spawn(close(handshaken));
        }
    }
}

impl Shared {
    /// Replaces what grows old or ends, until the stock is at its end.
    async fn keep(self: Arc<Self>) {
        while !self.stock().has_ended() {
            let due = self.stock().poll_timeout();
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.one_has_ended() => {}
                () = until(due) => self.change(Stock::handle_timeout),
            }
        }
    }

    /// Completes when one that was ready has ended; it is on the shelf no more.
    async fn one_has_ended(self: &Arc<Self>) {
        let removed =
            poll_fn(|context| match self.stock().remove_ended(Instant::now(), |it| ended(it, context)) {
                0 => Poll::Pending,
                removed => Poll::Ready(removed),
            });
        let connections = removed.await;
        tracing::debug!(connections, "connections that were ready have ended");
    }

    /// Changes the stock, and does what follows from it.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Stock<Handshaken, Waiter>, Instant) -> T) -> T {
        let mut stock = self.stock();
        let before = stock.watched();
        let result = change(&mut stock, Instant::now());
        let outputs: Vec<_> = std::iter::from_fn(|| stock.poll_output()).collect();
        let after = stock.watched();
        drop(stock);
        if after.wants_more_than(before) {
            self.changed.notify_one();
        }
        outputs.into_iter().for_each(|output| self.act(output));
        result
    }

    fn act(self: &Arc<Self>, output: Output<Handshaken, Waiter>) {
        match output {
            Output::Open => drop(self.runtime.spawn(self.clone().open())),
            Output::Close(handshaken) => drop(self.runtime.spawn(close(handshaken))),
            Output::Hand(waiter, handshaken) => {
                if let Err(Ok((handshaken, lease))) = waiter.send(Ok((handshaken, self.lease()))) {
                    drop(lease);
                    self.change(|stock, now| stock.unclaimed(now, handshaken));
                }
            }
        }
    }

    /// The place of a connection in use.
    fn lease(self: &Arc<Self>) -> Lease {
        let shared = self.clone();
        Lease::new(move || shared.change(Stock::returned))
    }

    async fn open(self: Arc<Self>) {
        match self.initiator.handshake().await {
            Ok(handshaken) => self.change(|stock, now| stock.opened(now, handshaken)),
            Err(error) => match self.change(Stock::failed) {
                // Whoever has gone needs no error.
                Some(waiter) => drop(waiter.send(Err(error))),
                None => tracing::debug!(%error, "no connection could be made ready"),
            },
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock<Handshaken, Waiter>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another connection may do better: what was ready has waited, and much may have happened meanwhile.
fn may_be_stale(error: &ConnectError) -> bool {
    use ConnectError::{KeyRefused, NoAnswer, Refused};
    let of_its_age = Refusal::TimedOut;
    matches!(error, KeyRefused | NoAnswer(_))
        || matches!(error, Refused { reason, .. } if *reason == of_its_age || *reason == Refusal::TooMany)
}

/// Whether the other end has been silent, as it must be before GO: a byte or an end says that it is not ready.
fn is_quiet(handshaken: &Handshaken) -> bool {
    let peeked = SockRef::from(handshaken.stream.get_ref().0).peek(&mut [MaybeUninit::uninit()]);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The same, to be woken when it changes.
fn ended(handshaken: &mut Handshaken, context: &mut Context<'_>) -> bool {
    let stream = handshaken.stream.get_ref().0;
    stream.poll_peek(context, &mut ReadBuf::new(&mut [0])).is_ready()
}

/// Ends a connection in order, and waits until the other end has as well.
async fn close(Handshaken { mut stream, .. }: Handshaken) {
    let closing = async {
        if stream.shutdown().await.is_ok() {
            // The agent says no more before GO than that it closes, too.
            let _ = stream.read(&mut [0]).await;
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}

/// As many as are taken at once by one program, such as a browser that has just been told of a new host.
pub const DEFAULT_STREAMS: usize = 2;
/// Long enough for a person who works with the target; each connection that was ready and not used leaves a record,
/// and those of a person who has left should be few.
pub const DEFAULT_WARM: Duration = Duration::from_mins(2);
/// How many that were ready are tried before one is opened.
const STALE_TRIES: usize = 3;
/// How long the answer to GO may take where the connection has waited: a device that dials an address needs no longer,
/// and a way that was cut silently is left soon.
const READY_ANSWER_TIMEOUT: Duration = DIAL_WAIT.saturating_add(Duration::from_secs(1));
/// How long the other end may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
