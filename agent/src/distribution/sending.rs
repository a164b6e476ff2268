//! Sending in one epoch: one object after the other, each by every interface. What is for few is served beside that.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klnet_multicast::net::{self as multicast, Interface, SendOptions, SenderKeys, interfaces, send};
use klnet_multicast::sender;
use klnet_wire::duties::Point;
use klnet_wire::id::DistributionId;
use klnet_wire::multicast::{AgentGroup, MULTICAST_PORT};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::fallback;
use super::object::Object;
use super::receiving::{epoch, secret};
use super::strangers::Watching;
use super::wares::Wares;

/// Sends in one epoch until it is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    point: Point,
    objects: watch::Sender<Vec<Object>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Sending {
    pub(super) fn start(wares: Wares, point: Point, objects: Vec<Object>) -> Self {
        wares.files.epoch(point.secret.clone());
        let (objects, told) = watch::channel(objects);
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { wares, point: point.clone(), stop: Arc::clone(&stop) };
        let task = tokio::spawn(async move { tokio::join!(work.serve(told.clone()), work.run(told)).0 });
        Self { point, objects, stop, task }
    }

    /// Whether it is with these keys to this group.
    pub(super) fn is_with(&self, point: &Point) -> bool {
        self.point == *point
    }

    /// Sends these from now on.
    pub(super) fn send(&self, objects: Vec<Object>) {
        self.objects.send_replace(objects);
    }

    /// Sends nothing more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop();
        self.task.abort();
    }
}

struct Work {
    wares: Wares,
    point: Point,
    stop: Arc<AtomicBool>,
}

impl Work {
    /// Serves what is for few, which waits for nothing that is sent.
    async fn serve(&self, mut told: watch::Receiver<Vec<Object>>) {
        loop {
            let objects = told.borrow_and_update().clone();
            let mut failed = false;
            for object in objects.iter().filter(|object| object.send && object.unicast) {
                failed |= !self.offer(object).await;
            }
            let patience = if failed { RETRY } else { Duration::MAX };
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = sleep(patience) => {}
            }
        }
    }

    /// Sends one object after the other; one that cannot be brought now waits until the others were.
    async fn run(&self, mut told: watch::Receiver<Vec<Object>>) {
        loop {
            let objects = told.borrow_and_update().clone();
            self.clear(&objects);
            let mut failed = false;
            for object in objects.iter().filter(|object| object.send && !object.unicast) {
                failed |= !self.bring(object).await;
            }
            let patience = if failed { RETRY } else { Duration::MAX };
            let _watching = Watching::start(self.networks(), &self.wares.strangers);
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = sleep(patience) => {}
            }
        }
    }

    /// Says whether it is there, and served.
    async fn offer(&self, object: &Object) -> bool {
        if self.wares.files.object(object.id).is_some() {
            return true;
        }
        let Some(brought) = self.fetch(object).await else { return false };
        self.wares.files.add(object.id, brought);
        true
    }

    /// Says whether it is there, and was sent.
    async fn bring(&self, object: &Object) -> bool {
        if self.is_done(object.id) {
            return true;
        }
        let Some(brought) = self.fetch(object).await else { return false };
        if self.was_sent(object.id) {
            self.wares.files.add(object.id, brought);
            return true;
        }
        let sending = self.send(&brought);
        let serving = async {
            sleep(GRACE).await;
            self.wares.files.add(object.id, Arc::clone(&brought));
        };
        let (sent, ()) = tokio::join!(sending, serving);
        if sent {
            self.wares.sent.lock().expect("no holder panics").insert(object.id);
        }
        sent
    }

    /// Fetches an object from the server, which costs nothing where it is there already.
    async fn fetch(&self, object: &Object) -> Option<Arc<multicast::Object>> {
        let folder = self.folder().join(object.id.to_string());
        let fetched = match fallback::from_server(&self.wares.place, &object.manifest, &folder).await {
            Ok((fetched, _)) => fetched,
            Err(error) => {
                tracing::warn!(name = object.manifest.name, %error, "an object cannot be brought yet");
                return None;
            }
        };
        let (manifest, signed) = (object.manifest.clone(), object.signed.clone());
        multicast::Object::in_folder(&folder, manifest, signed, fetched.catalogue)
            .inspect_err(|error| {
                tracing::warn!(name = object.manifest.name, %error, "an object cannot be brought");
            })
            .ok()
            .map(Arc::new)
    }

    fn is_done(&self, id: DistributionId) -> bool {
        self.was_sent(id) && self.wares.files.object(id).is_some()
    }

    fn was_sent(&self, id: DistributionId) -> bool {
        self.wares.sent.lock().expect("no holder panics").contains(&id)
    }

    /// Sends an object by each interface; says whether each of them went to the end.
    async fn send(&self, object: &Arc<multicast::Object>) -> bool {
        let Some(keys) = self.keys() else { return false };
        let mut sessions = JoinSet::new();
        for (group, interface) in self.networks() {
            let (object, keys, stop) = (Arc::clone(object), keys.clone(), Arc::clone(&self.stop));
            let mut config = sender::Config::default();
            if self.point.rate != 0 {
                config.cap = config.cap.min(self.point.rate);
            }
            let options = SendOptions { group, interface, hops: 1, config };
            sessions.spawn_blocking(move || {
                let look = |_: multicast::SendView<'_>| match stop.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                };
                send(&object, &keys, &options, look)
            });
        }
        let mut all = true;
        while let Some(ended) = sessions.join_next().await {
            match ended {
                Ok(Ok(sent)) => tracing::info!(receivers = sent.receivers.len(), "an object was sent"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "an object was not sent by multicast; it is served by HTTPS");
                }
                Err(_) => all = false,
            }
        }
        all && !self.stop.load(Ordering::Relaxed)
    }

    fn keys(&self) -> Option<SenderKeys> {
        Some(SenderKeys {
            epoch: epoch(self.point.epoch, &self.point.secret)?,
            feedback: secret(&self.point.feedback)?,
            announcer: self.wares.place.announcer.clone(),
        })
    }

    /// Each interface with the group that it is sent to there: of IPv4 where that is spoken.
    fn networks(&self) -> Vec<(SocketAddr, Interface)> {
        let Some(group) = AgentGroup::new(self.point.group) else { return Vec::new() };
        let mut networks: Vec<(SocketAddr, Interface)> = Vec::new();
        for group in [IpAddr::V4(group.v4()), IpAddr::V6(group.v6())] {
            let found = interfaces(group, &[]).unwrap_or_default();
            let new = |one: &Interface| !networks.iter().any(|(_, known)| known.index == one.index);
            let new: Vec<_> = found.into_iter().filter(new).collect();
            networks.extend(new.into_iter().map(|one| (SocketAddr::new(group, MULTICAST_PORT), one)));
        }
        networks
    }

    /// Forgets what is distributed no more.
    fn clear(&self, objects: &[Object]) {
        for entry in std::fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !objects.iter().any(|object| name.to_str() == Some(&object.id.to_string())) {
                // What is left over costs room, nothing else.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.wares.place.folder.join("brought")
    }
}

/// Members that hear the group have begun by then, and do not ask for files.
const GRACE: Duration = Duration::from_secs(5);
/// Before an object that could not be brought is tried again.
const RETRY: Duration = Duration::from_secs(10);
