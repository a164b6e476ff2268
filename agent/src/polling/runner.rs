//! The task that polls: one loop over duties, what is due, what is found, and what is to be told.

use std::time::{Duration, Instant};

use klnet_discovery::fact::Fact;
use klnet_discovery::schedule::Schedule;
use klnet_wire::message::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use super::Told;
use super::hosts::Hosts;
use super::polls::{Failed, Kind, poll, schedule};

pub(super) struct Runner {
    say: mpsc::Sender<Message>,
    heard: mpsc::Receiver<Fact>,
    told: Told,
    /// None while nothing is to be polled.
    schedule: Option<Schedule<Kind>>,
    running: Option<Running>,
    hosts: Hosts,
    pace: Interval,
}

/// A poll that goes on; it ends when this is dropped.
struct Running {
    kind: Kind,
    facts: mpsc::Receiver<Fact>,
    task: JoinHandle<Result<(), Failed>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happened to the poll that goes on.
enum Progress {
    Found(Fact),
    Over(Kind, Result<Result<(), Failed>, JoinError>),
}

impl Runner {
    pub(super) fn new(say: mpsc::Sender<Message>, heard: mpsc::Receiver<Fact>) -> Self {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (told, schedule) = Default::default();
        Self { say, heard, told, schedule, running: None, hosts: Hosts::default(), pace }
    }

    pub(super) async fn run(mut self, mut tells: watch::Receiver<Told>) {
        loop {
            let due = self.schedule.as_ref().filter(|_| self.running.is_none()).and_then(Schedule::next);
            tokio::select! {
                changed = tells.changed() => match changed {
                    Ok(()) => self.take(tells.borrow_and_update().clone()),
                    Err(_) => return,
                },
                kind = wait_for(due) => self.begin(kind),
                Some(fact) = self.heard.recv() => self.hosts.confirm(&fact),
                progress = Running::progress(&mut self.running) => self.progressed(progress),
                _ = self.pace.tick(), if self.hosts.has_news() => self.tell(),
            }
        }
    }

    /// Polls what is told from now on; in a new session everything is told again.
    fn take(&mut self, told: Told) {
        let before = std::mem::replace(&mut self.told, told);
        if before.polling != self.told.polling {
            self.running = None;
            let polling = self.told.polling.as_ref();
            self.schedule = polling.map(|polling| schedule(Instant::now(), polling));
        }
        if self.told.polling.is_none() {
            self.hosts = Hosts::default();
        } else if before.session != self.told.session {
            self.hosts.tell_all();
        }
    }

    fn begin(&mut self, kind: Kind) {
        let ranges = self.told.polling.as_ref().map(|polling| polling.ranges.clone()).unwrap_or_default();
        let (known, (tell, facts)) = (self.hosts.addresses(), mpsc::channel(FACTS));
        let task = tokio::spawn(async move { poll(kind, &ranges, known, tell).await });
        self.running = Some(Running { kind, facts, task });
    }

    fn progressed(&mut self, progress: Progress) {
        let (kind, ended) = match progress {
            Progress::Found(fact) => return self.hosts.learn(&fact),
            Progress::Over(kind, ended) => (kind, ended),
        };
        self.running = None;
        if let Some(schedule) = &mut self.schedule {
            schedule.done(Instant::now(), kind);
        }
        match ended {
            Ok(Ok(())) => tracing::debug!(?kind, "polled"),
            Ok(Err(error)) => {
                tracing::warn!(?kind, %error, "a poll came to nothing; it is made again in its turn")
            }
            Err(error) => tracing::error!(?kind, %error, "a poll ended badly"),
        }
        self.hosts.tell_all();
    }

    /// Says some of what is to be told; what nobody takes is told in the next session.
    fn tell(&mut self) {
        if let Ok(room) = self.say.try_reserve()
            && let Some(message) = self.hosts.next()
        {
            room.send(message);
        }
    }
}

impl Running {
    /// What happens next; facts come before the end.
    async fn progress(running: &mut Option<Self>) -> Progress {
        let Some(running) = running else { return std::future::pending().await };
        match running.facts.recv().await {
            Some(fact) => Progress::Found(fact),
            None => Progress::Over(running.kind, (&mut running.task).await),
        }
    }
}

async fn wait_for(due: Option<(Instant, Kind)>) -> Kind {
    let Some((at, kind)) = due else { return std::future::pending().await };
    sleep_until(at.into()).await;
    kind
}

/// Facts on their way to the inventory.
const FACTS: usize = 1024;
/// Between two messages: with their length, 8 KiB a second.
const PACE: Duration = Duration::from_millis(250);
