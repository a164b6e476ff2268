//! The task that does what the device was told: one loop over duties, what came, and what is silent for too long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_multicast::net::Fetched;
use klnet_wire::duties::Source;
use klnet_wire::id::DistributionId;
use klnet_wire::message::{Delivery, DeliveryState, Message};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::bringing::{self, Bringing};
use super::due::Due;
use super::fallback::{self, Missed};
use super::object::{Object, objects};
use super::place::Place;
use super::receiving::{Outcome, Receiving, Seen};
use super::shown::{Group, ObjectShown, Shown};
use super::strangers::Strangers;
use super::{News, Told};

pub(super) struct Runner {
    place: Arc<Place>,
    news: mpsc::Sender<News>,
    shown: Shown,
    told: Told,
    objects: Vec<Object>,
    receiving: Option<Receiving>,
    bringing: Option<Bringing>,
    /// When it last tried to be a distribution point.
    listened: Option<Instant>,
    seen: Arc<Seen>,
    strangers: Arc<Strangers>,
    /// What became of each object.
    deliveries: HashMap<DistributionId, Delivery>,
    /// When an object that does not come is fetched.
    due: HashMap<DistributionId, Due>,
}

impl Runner {
    pub(super) fn new(place: Arc<Place>, news: mpsc::Sender<News>) -> Self {
        Self {
            place,
            news,
            shown: Shown::default(),
            told: Told::default(),
            objects: Vec::new(),
            receiving: None,
            bringing: None,
            listened: None,
            seen: Arc::default(),
            strangers: Arc::default(),
            deliveries: HashMap::new(),
            due: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut duties: watch::Receiver<Told>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.show();
            tokio::select! {
                changed = duties.changed() => match changed {
                    Ok(()) => {
                        let told = duties.borrow_and_update().clone();
                        self.take(told).await;
                        // What is to be fetched at once is.
                        ticks.reset_immediately();
                    }
                    Err(_) => return,
                },
                () = self.seen.news.notified() => self.came(),
                foreign = self.strangers.next() => self.tell_of(foreign),
                _ = ticks.tick() => {
                    self.listen_again().await;
                    self.fetch_what_is_due().await;
                }
            }
        }
    }

    /// Tells people how it stands, if that is news.
    fn show(&mut self) {
        let duties = &self.told.duties;
        let shown = |object: &Object| {
            let delivery = self.deliveries.get(&object.id);
            let state = match delivery.map(Delivery::state) {
                Some(DeliveryState::Complete) => "complete",
                Some(DeliveryState::Failed) => "failed",
                Some(DeliveryState::Unknown) | None => "pending",
            };
            ObjectShown {
                name: object.manifest.name.clone(),
                version: object.manifest.version,
                length: object.manifest.length,
                state: state.to_owned(),
                reason: delivery.map(|delivery| delivery.reason.clone()).unwrap_or_default(),
            }
        };
        let shown = Shown {
            receives: duties.source.as_ref().and_then(|source| Group::new(source.group, source.epoch)),
            brings: duties.point.as_ref().and_then(|point| Group::new(point.group, point.epoch)),
            objects: self.objects.iter().filter(|object| object.take).map(shown).collect(),
        };
        if shown != self.shown && self.news.try_send(News::Stands(shown.clone())).is_ok() {
            self.shown = shown;
        }
    }

    /// Does what is told from now on.
    async fn take(&mut self, told: Told) {
        let before = std::mem::replace(&mut self.told, told);
        self.objects = objects(&self.told.duties, &self.told.signers);
        let known: Vec<_> = self.objects.iter().map(|object| object.id).collect();
        self.deliveries.retain(|id, _| known.contains(id));
        self.due.retain(|id, _| known.contains(id));
        let (duties, was) = (&self.told.duties, &before.duties);
        let is_same = (&duties.source, &duties.audiences) == (&was.source, &was.audiences);
        if !is_same || before.signers != self.told.signers {
            self.stop_receiving().await;
        }
        self.bring().await;
        if before.session != self.told.session {
            self.tell_again();
        }
        self.wait_for_objects();
        self.start_receiving();
    }

    /// Is the distribution point that was told, or none.
    async fn bring(&mut self) {
        let sent: Vec<_> = self.objects.iter().filter(|object| object.send).cloned().collect();
        let Some(point) = self.told.duties.point.clone() else {
            self.bringing = None;
            return;
        };
        if let Some(bringing) = &mut self.bringing {
            return bringing.bring(point, sent);
        }
        let is_first = self.listened.replace(Instant::now()).is_none();
        match Bringing::start(&self.place, point, sent, &self.strangers).await {
            Ok(bringing) => {
                self.bringing = Some(bringing);
                self.say(Message::PointState(bringing::state(&self.place, None)));
            }
            Err(error) if is_first => {
                let port = self.place.ports.files;
                tracing::error!(port, %error, "this distribution point cannot listen on its port: ports.files");
            }
            Err(error) => tracing::debug!(%error, "it cannot listen still"),
        }
    }

    /// A port that was in use may be free now.
    async fn listen_again(&mut self) {
        let is_missing = self.told.duties.point.is_some() && self.bringing.is_none();
        if is_missing && self.listened.is_none_or(|at| at.elapsed() >= RETRY) {
            self.bring().await;
        }
    }

    /// A new session knows nothing of what was told in the one before.
    fn tell_again(&self) {
        if self.bringing.is_some() {
            self.say(Message::PointState(bringing::state(&self.place, None)));
        }
        self.deliveries.values().for_each(|delivery| self.say(Message::Delivery(delivery.clone())));
    }

    /// Somebody else sends to the groups of this distribution point: the server gives it others.
    fn tell_of(&self, foreign: IpAddr) {
        if self.bringing.is_some() {
            tracing::warn!(%foreign, "somebody else sends to this distribution point's multicast group");
            self.say(Message::PointState(bringing::state(&self.place, Some(foreign))));
        }
    }

    /// Takes in what multicast has brought.
    fn came(&mut self) {
        let new: Vec<_> =
            self.missing().filter_map(|object| Some((object.id, self.outcome(object)?))).collect();
        for (id, delivery) in new {
            self.delivered(id, delivery);
        }
    }

    fn outcome(&self, object: &Object) -> Option<Delivery> {
        let id = object.id.to_vec().into();
        Some(match self.seen.of(&object.manifest).outcome? {
            Outcome::Complete { bytes, took, repaired } => Delivery {
                object: id,
                state: DeliveryState::Complete.into(),
                multicast: bytes,
                took_ms: millis(took),
                repaired,
                ..Delivery::default()
            },
            Outcome::Failed(reason) => {
                Delivery { object: id, state: DeliveryState::Failed.into(), reason, ..Delivery::default() }
            }
        })
    }

    /// Fetches the first object that has waited for too long; the next tick is for the others.
    async fn fetch_what_is_due(&mut self) {
        let now = Instant::now();
        let Some(object) = self.missing().find(|object| self.is_due(object, now)).cloned() else { return };
        let Some(fetched) = self.fetch(&object).await else { return };
        if let Some(due) = self.due.get_mut(&object.id) {
            due.tried(Instant::now());
        }
        match fetched {
            Ok((fetched, took)) => {
                let delivery = Delivery {
                    object: object.id.to_vec().into(),
                    state: DeliveryState::Complete.into(),
                    https: fetched.bytes,
                    took_ms: millis(took),
                    ..Delivery::default()
                };
                self.delivered(object.id, delivery);
            }
            // It does not have it yet, or is away: multicast may bring it, or the next try.
            Err(error) => tracing::debug!(name = object.manifest.name, %error, "not fetched"),
        }
        self.start_receiving();
    }

    /// Fetches an object that is missing; `None` when there is nobody to ask.
    async fn fetch(&mut self, object: &Object) -> Option<Result<(Fetched, Duration), Missed>> {
        let (place, folder) = (Arc::clone(&self.place), self.folder());
        if object.send {
            let here = self.bringing.as_ref()?.object(object.id)?;
            return Some(fallback::from_here(here, &object.manifest, &folder).await);
        }
        let source: Source = self.told.duties.source.clone()?;
        self.stop_receiving().await;
        Some(fallback::from_point(place, source, object.clone(), folder).await)
    }

    fn is_due(&self, object: &Object, now: Instant) -> bool {
        let moved = self.seen.of(&object.manifest).moved.map(|(_, at)| at);
        self.due.get(&object.id).is_some_and(|due| due.is_over(now, moved))
    }

    /// Objects that the device is to have and has not.
    fn missing(&self) -> impl Iterator<Item = &Object> {
        let is_here = |object: &Object| {
            let delivery = self.deliveries.get(&object.id);
            delivery.is_some_and(|delivery| delivery.state() == DeliveryState::Complete)
        };
        self.objects.iter().filter(move |object| object.take && !is_here(object))
    }

    fn wait_for_objects(&mut self) {
        let now = Instant::now();
        for object in &self.objects {
            let is_sent = !object.send && !object.unicast;
            let new = || if is_sent { Due::later(now) } else { Due::at_once(now) };
            let due = self.due.entry(object.id).or_insert_with(new);
            if due.waits_for_multicast() && !is_sent {
                *due = new();
            }
        }
    }

    fn delivered(&mut self, id: DistributionId, delivery: Delivery) {
        if self.deliveries.get(&id) != Some(&delivery) {
            self.say(Message::Delivery(delivery.clone()));
            self.deliveries.insert(id, delivery);
        }
    }

    fn start_receiving(&mut self) {
        let Some(source) = self.told.duties.source.as_ref().filter(|_| self.receiving.is_none()) else {
            return;
        };
        let audiences = self.told.duties.audiences.iter();
        let audiences = audiences.filter_map(|audience| audience[..].try_into().ok()).collect();
        let device = self.place.id();
        self.receiving =
            Receiving::start(self.folder(), source, device, audiences, &self.told.signers, &self.seen);
    }

    async fn stop_receiving(&mut self) {
        if let Some(receiving) = self.receiving.take() {
            receiving.end().await;
        }
    }

    fn folder(&self) -> PathBuf {
        self.place.folder.join("received")
    }

    /// Whoever does not take it now is told again in the next session.
    fn say(&self, message: Message) {
        if self.news.try_send(News::Say(message)).is_err() {
            tracing::debug!("a message about distribution waits for the next session");
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const TICK: Duration = Duration::from_secs(1);
/// Before it listens again.
const RETRY: Duration = Duration::from_secs(10);
