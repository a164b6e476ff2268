//! A distribution point at work: it fetches each object from the server, once, sends it to its group, and serves it.
//!
//! ```text
//! told ─▶ fetched, verified ─▶ announced ── GRACE ─▶ served by HTTPS, too
//!                                 └─ sent, as long as anybody asks ─▶ next object
//! ```
//! It holds no key that makes objects: what it cannot verify it neither sends nor serves.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klnet_multicast::net::{self as multicast, Interface, SendOptions, SenderKeys, interfaces, send};
use klnet_multicast::sender;
use klnet_wire::duties::{ADDRESSES_LIMIT, Point};
use klnet_wire::id::DistributionId;
use klnet_wire::message::PointState;
use klnet_wire::multicast::{AgentGroup, MULTICAST_PORT};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::fallback;
use super::files::Files;
use super::object::Object;
use super::place::Place;
use super::receiving::{epoch, secret};

/// Brings objects until it is dropped.
#[derive(Debug)]
pub(super) struct Bringing {
    files: Arc<Files>,
    /// What was sent to the end; another epoch does not send it again.
    sent: Arc<Mutex<HashSet<DistributionId>>>,
    sending: Sending,
}

/// Sends in one epoch until it is dropped.
#[derive(Debug)]
struct Sending {
    point: Point,
    objects: watch::Sender<Vec<Object>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Bringing {
    /// Listens for members and begins.
    ///
    /// # Errors
    /// What the system says of the port.
    pub(super) async fn start(
        place: &Arc<Place>,
        point: Point,
        objects: Vec<Object>,
    ) -> std::io::Result<Self> {
        let (files, sent) = (Arc::new(Files::listen(place).await?), Arc::default());
        let sending = Sending::start(place, point, objects, &files, &sent);
        Ok(Self { files, sent, sending })
    }

    /// Brings these from now on, with these keys: members change over to another epoch, what was sent stays so.
    pub(super) fn bring(&mut self, place: &Arc<Place>, point: Point, objects: Vec<Object>) {
        let is_known = |id: &DistributionId| objects.iter().any(|object| object.id == *id);
        self.files.retain(|id| is_known(&id));
        self.sent.lock().expect("no holder panics").retain(is_known);
        if self.sending.point == point {
            self.sending.objects.send_replace(objects);
            return;
        }
        // Nothing more goes out under the keys of before.
        self.sending.stop.store(true, Ordering::Relaxed);
        self.sending = Sending::start(place, point, objects, &self.files, &self.sent);
    }

    /// An object that it has.
    pub(super) fn object(&self, id: DistributionId) -> Option<Arc<multicast::Object>> {
        self.files.object(id)
    }
}

impl Sending {
    fn start(
        place: &Arc<Place>,
        point: Point,
        objects: Vec<Object>,
        files: &Arc<Files>,
        sent: &Arc<Mutex<HashSet<DistributionId>>>,
    ) -> Self {
        files.epoch(point.secret.clone());
        let (objects, told) = watch::channel(objects);
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            place: Arc::clone(place),
            point: point.clone(),
            files: Arc::clone(files),
            stop: Arc::clone(&stop),
            sent: Arc::clone(sent),
        };
        Self { point, objects, stop, task: tokio::spawn(work.run(told)) }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

struct Work {
    place: Arc<Place>,
    point: Point,
    files: Arc<Files>,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<HashSet<DistributionId>>>,
}

impl Work {
    /// One object after the other; one that cannot be brought now waits until the others were.
    async fn run(self, mut told: watch::Receiver<Vec<Object>>) {
        loop {
            let objects = told.borrow_and_update().clone();
            self.clear(&objects);
            let mut failed = false;
            for object in objects.iter().filter(|object| object.send) {
                failed |= !self.bring(object).await;
            }
            let patience = if failed { RETRY } else { Duration::MAX };
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = sleep(patience) => {}
            }
        }
    }

    /// Says whether it is there, and was sent.
    async fn bring(&self, object: &Object) -> bool {
        let folder = self.folder().join(object.id.to_string());
        let fetched = match fallback::from_server(&self.place, &object.manifest, &folder).await {
            Ok((fetched, _)) => fetched,
            Err(error) => {
                tracing::warn!(name = object.manifest.name, %error, "an object cannot be brought yet");
                return false;
            }
        };
        let (manifest, signed) = (object.manifest.clone(), object.signed.clone());
        let brought = match multicast::Object::in_folder(&folder, manifest, signed, fetched.catalogue) {
            Ok(brought) => Arc::new(brought),
            Err(error) => {
                tracing::warn!(name = object.manifest.name, %error, "an object cannot be brought");
                return false;
            }
        };
        if self.sent.lock().expect("no holder panics").contains(&object.id) {
            self.files.add(object.id, brought);
            return true;
        }
        let sending = self.send(&brought);
        let serving = async {
            sleep(GRACE).await;
            self.files.add(object.id, Arc::clone(&brought));
        };
        let (sent, ()) = tokio::join!(sending, serving);
        if sent {
            self.sent.lock().expect("no holder panics").insert(object.id);
        }
        sent
    }

    /// Sends an object by each interface; says whether each of them went to the end.
    async fn send(&self, object: &Arc<multicast::Object>) -> bool {
        let Some(keys) = self.keys() else { return false };
        let mut sessions = JoinSet::new();
        for (group, interface) in self.networks() {
            let (object, keys, stop) = (Arc::clone(object), keys.clone(), Arc::clone(&self.stop));
            let options = SendOptions { group, interface, hops: 1, config: sender::Config::default() };
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
            announcer: self.place.announcer.clone(),
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
        self.place.folder.join("brought")
    }
}

/// What the server is told of this distribution point.
pub(super) fn state(place: &Place) -> PointState {
    let is_known = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    let addresses = crate::platform::own_addresses().into_iter().filter(is_known);
    PointState {
        announcer: bytes::Bytes::copy_from_slice(place.announcer.public().as_bytes()),
        addresses: addresses.take(ADDRESSES_LIMIT).map(|address| address.to_string()).collect(),
        port: place.files_port.into(),
    }
}

/// Members that hear the group have begun by then, and do not ask for files.
const GRACE: Duration = Duration::from_secs(5);
/// Before an object that could not be brought is tried again.
const RETRY: Duration = Duration::from_secs(10);
