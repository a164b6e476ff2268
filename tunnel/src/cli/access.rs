//! Access to a target: holds a grant, asks for another when that one is over, and waits while the network is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_wire::signing::SigningKey;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep_until, timeout_at};

use super::failure::Failure;
use super::keeping::Keeping;
use super::operator::{Operator, Source};
use super::outage::Outage;
use super::status::Status;
use super::target::Target;
use super::terms::Terms;
use crate::net::initiator::{Connection, Initiator};
use crate::net::ready::Ready;

/// Opens connections to one target.
pub(super) struct Access {
    key: SigningKey,
    /// How to get another grant; `None` for a blob, which is all there is.
    source: Option<Source>,
    keeping: Keeping,
    /// The grant in use; `None` until the first is needed.
    current: Mutex<Option<Arc<Ready>>>,
    /// The connection that began a blob's session, for whoever comes soon after.
    first: Mutex<Option<(Instant, Connection)>>,
    /// Of those who wait for the end of an outage one tries; the others wait for this.
    outage: Mutex<Outage>,
}

impl Access {
    /// Gets the first grant.
    pub(super) async fn open(
        target: &Target,
        operator: &Operator,
        keeping: Keeping,
    ) -> Result<Self, Failure> {
        let key = operator.key.clone();
        match target {
            Target::Blob(blob) => {
                let access = Self::new(key, None, keeping);
                *access.current.lock().await =
                    Some(access.redeemed_by(Initiator::new((**blob).clone(), &access.key)));
                Ok(access)
            }
            Target::StandardInput => Err(Failure::Usage("standard input is not a target here".into())),
            Target::Port(target) => {
                let access = Self::new(key, Some(operator.source(target)?), keeping);
                access.current().await?;
                Ok(access)
            }
        }
    }

    /// Without a grant, which is asked for when the first connection needs it.
    pub(super) fn from(source: Source, operator: &Operator, keeping: Keeping) -> Self {
        Self::new(operator.key.clone(), Some(source), keeping)
    }

    fn new(key: SigningKey, source: Option<Source>, keeping: Keeping) -> Self {
        let (current, first, outage) = Default::default();
        Self { key, source, keeping, current, first, outage }
    }

    /// Begins the session of a blob: its time to start would be over before a person has opened another program, and
    /// what is wrong with it is better said now. Where another grant can be had there is no hurry.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        if self.source.is_none() {
            let connection = self.connect().await?;
            *self.first.lock().await = Some((Instant::now(), connection));
        }
        Ok(())
    }

    /// Closes the connection that began the session once nobody came for it soon.
    pub(super) async fn tidy(&self) {
        let unused = self.first.lock().await.take_if(|(since, _)| since.elapsed() >= FRESH);
        if let Some((_, mut connection)) = unused {
            // The session goes on; how this connection ends is of no interest to anybody.
            let _ = connection.stream.shutdown().await;
        }
    }

    /// Opens a connection; where waiting may help, waits as long as the user has patience.
    pub(super) async fn wait(&self, status: &Status) -> Result<Connection, Failure> {
        let patience = self.keeping.patience;
        if patience.is_zero() {
            return self.connect().await;
        }
        let deadline = Instant::now() + patience;
        let in_time = timeout_at(deadline.into(), self.connect()).await;
        let failure = match in_time.unwrap_or(Err(Failure::Late(patience))) {
            Ok(connection) => {
                if let Ok(mut outage) = self.outage.try_lock() {
                    came_through(&mut outage, status);
                }
                return Ok(connection);
            }
            Err(failure) if self.may_heal(&failure).await => failure,
            Err(failure) => return Err(failure),
        };
        self.outlast(failure, deadline, status).await
    }

    /// Tries until a connection comes about, waiting does not help, or the time is over.
    async fn outlast(
        &self,
        mut failure: Failure,
        deadline: Instant,
        status: &Status,
    ) -> Result<Connection, Failure> {
        let (mut outage, mut waits) = match self.outage.try_lock() {
            Ok(outage) => (outage, true),
            // Whoever has tried until now has an answer that is newer than this failure.
            Err(_) => match timeout_at(deadline.into(), self.outage.lock()).await {
                Ok(outage) => (outage, false),
                Err(_) => return Err(failure),
            },
        };
        loop {
            if waits && !pause(&mut outage, &failure, deadline, status).await {
                return Err(failure);
            }
            waits = true;
            failure = match timeout_at(deadline.into(), self.connect()).await {
                Err(_) => return Err(failure),
                Ok(Ok(connection)) => {
                    came_through(&mut outage, status);
                    return Ok(connection);
                }
                Ok(Err(again)) if self.may_heal(&again).await => again,
                Ok(Err(hopeless)) => return Err(hopeless),
            };
        }
    }

    /// Opens a connection, with another grant when the present one is over and another can be had.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let first = self.first.lock().await.take();
        if let Some((_, connection)) = first.filter(|(since, _)| since.elapsed() < FRESH) {
            return Ok(connection);
        }
        let used = self.current().await?;
        match used.connect().await {
            Err(error) if error.wants_another_grant() && self.source.is_some() => {
                tracing::debug!(%error, "the grant is over, asking for another");
                Ok(self.replace(&used).await?.connect().await?)
            }
            result => Ok(result?),
        }
    }

    /// Ends what is kept ready, in order; waits for nobody who is asking for another grant.
    pub(super) async fn close(&self) {
        if let Ok(current) = self.current.try_lock()
            && let Some(ready) = &*current
        {
            ready.close().await;
        }
    }

    /// The terms of the present grant, if there is one.
    pub(super) async fn terms(&self) -> Option<Terms> {
        self.current.lock().await.as_ref().map(|ready| Terms::of(ready.initiator()))
    }

    /// The longest silence of a connection.
    pub(super) async fn idle(&self) -> Duration {
        let current = self.current.lock().await;
        current.as_ref().map_or(Duration::MAX, |ready| ready.initiator().grant().idle)
    }

    /// Whether waiting may help. A blob that was never redeemed is all there is: nobody gives another.
    async fn may_heal(&self, failure: &Failure) -> bool {
        let begun = async { self.terms().await.is_some_and(|terms| terms.begun.is_some()) };
        failure.may_heal() && (self.source.is_some() || !failure.is_of_the_grant() || begun.await)
    }

    /// The grant in use, or the first.
    async fn current(&self) -> Result<Arc<Ready>, Failure> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(ready) => Ok(ready.clone()),
            None => self.renew(&mut current).await,
        }
    }

    /// Replaces `used`, unless another connection has done so already.
    async fn replace(&self, used: &Arc<Ready>) -> Result<Arc<Ready>, Failure> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(newer) if !Arc::ptr_eq(newer, used) => Ok(newer.clone()),
            _ => self.renew(&mut current).await,
        }
    }

    async fn renew(&self, current: &mut MutexGuard<'_, Option<Arc<Ready>>>) -> Result<Arc<Ready>, Failure> {
        let source = self.source.as_ref().expect("a blob is there from the beginning and never renewed");
        let renewed = self.redeemed_by(Initiator::new(source.grant().await?, &self.key));
        **current = Some(renewed.clone());
        Ok(renewed)
    }

    fn redeemed_by(&self, initiator: Initiator) -> Arc<Ready> {
        Arc::new(Ready::new(initiator, self.keeping.ready))
    }
}

/// Says why nothing goes on, and waits for the next try; false when that is too late.
async fn pause(outage: &mut Outage, failure: &Failure, deadline: Instant, status: &Status) -> bool {
    let now = Instant::now();
    let due = outage.failed(now, random());
    if due >= deadline {
        return false;
    }
    status.waiting(failure, due - now);
    sleep_until(due.into()).await;
    true
}

fn came_through(outage: &mut Outage, status: &Status) {
    if let Some(lasted) = outage.over(Instant::now()) {
        status.reconnected(lasted);
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the system gives randomness");
    u64::from_be_bytes(bytes)
}

/// A connection that has waited longer may have met a login timeout of its service.
const FRESH: Duration = Duration::from_secs(5);
