//! A thread that listens to one distribution point, and what it has seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klnet_multicast::feedback::label;
use klnet_multicast::id::ReceiverId;
use klnet_multicast::key::{EpochKey, Secret};
use klnet_multicast::manifest::Manifest;
use klnet_multicast::net::{Membership, Receipt, ReceiveEvent, ReceiveOptions, interfaces, receive};
use klnet_wire::duties::Source;
use klnet_wire::id::DeviceId;
use klnet_wire::multicast::{AgentGroup, MULTICAST_PORT};
use klnet_wire::signed::PublicKey;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};

/// Listens until it is ended or dropped.
#[derive(Debug)]
pub(super) struct Receiving {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What came of each object, by its name and version; bounded by what a folder takes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    objects: Mutex<BTreeMap<(String, u64), Sight>>,
    /// Rings when an object is complete or cannot be taken.
    pub(super) news: Notify,
}

/// What came of one object.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// Bytes that are verified, and when the last of them were.
    pub(super) moved: Option<(u64, Instant)>,
    pub(super) outcome: Option<Outcome>,
}

/// How an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete { bytes: u64, took: Duration, repaired: u32 },
    Failed(String),
}

impl Receiving {
    /// Listens to `source`; `None` when that is none, or no network has such addresses.
    pub(super) fn start(
        folder: PathBuf,
        source: &Source,
        device: DeviceId,
        audiences: Vec<[u8; 16]>,
        signers: &[PublicKey],
        seen: &Arc<Seen>,
    ) -> Option<Self> {
        let membership = membership(source, device, audiences, signers)?;
        let stop = Arc::new(AtomicBool::new(false));
        let options = options(AgentGroup::new(source.group)?, device, &stop)?;
        let seen = Arc::clone(seen);
        let thread = spawn_blocking(move || listen(&folder, membership, &options, &seen));
        Some(Self { stop, thread: Some(thread) })
    }

    /// Ends it, and waits until the folder is nobody's.
    pub(super) async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.await;
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// What came of this object.
    pub(super) fn of(&self, manifest: &Manifest) -> Sight {
        let objects = self.objects.lock().expect("no holder panics");
        objects.get(&name(manifest)).cloned().unwrap_or_default()
    }

    fn take(&self, event: ReceiveEvent) {
        let mut objects = self.objects.lock().expect("no holder panics");
        match event {
            ReceiveEvent::Progress { manifest, bytes, .. } => {
                let sight = objects.entry(name(&manifest)).or_default();
                if sight.moved.is_none_or(|(before, _)| before != bytes) {
                    sight.moved = Some((bytes, Instant::now()));
                }
                return;
            }
            ReceiveEvent::Completed(Receipt { name, version, bytes, repaired, resumed, time, .. }) => {
                let there = u64::from(resumed) << klnet_multicast::layout::BLOCK_LOG2_MOST;
                let outcome = Outcome::Complete { bytes: bytes.saturating_sub(there), took: time, repaired };
                objects.entry((name, version)).or_default().outcome = Some(outcome);
            }
            ReceiveEvent::Failed { manifest, error } => {
                let outcome = Outcome::Failed(error.to_string());
                objects.entry(name(&manifest)).or_default().outcome = Some(outcome);
            }
            ReceiveEvent::Refused { sender, reason } => {
                return tracing::debug!(%sender, %reason, "an object is refused");
            }
            ReceiveEvent::Opened { .. } | ReceiveEvent::Closed { .. } => return,
        }
        drop(objects);
        self.news.notify_one();
    }
}

fn name(manifest: &Manifest) -> (String, u64) {
    (manifest.name.clone(), manifest.version)
}

fn listen(folder: &Path, membership: Membership, options: &ReceiveOptions, seen: &Seen) {
    let heard = receive(
        folder,
        |_| membership,
        options,
        |event| {
            seen.take(event);
            ControlFlow::Continue(())
        },
    );
    if let Err(error) = heard {
        tracing::warn!(%error, "multicast is not received; objects come by HTTPS");
    }
}

fn membership(
    source: &Source,
    device: DeviceId,
    audiences: Vec<[u8; 16]>,
    signers: &[PublicKey],
) -> Option<Membership> {
    Some(Membership {
        receiver: ReceiverId::new(*device.as_bytes()),
        key: secret(&source.key)?,
        epochs: vec![epoch(source.epoch, &source.secret)?],
        announcers: vec![PublicKey::try_from(&source.announcer[..]).ok()?],
        signers: signers.to_vec(),
        audiences,
    })
}

fn options(group: AgentGroup, device: DeviceId, stop: &Arc<AtomicBool>) -> Option<ReceiveOptions> {
    let (group, interfaces) =
        [IpAddr::V4(group.v4()), IpAddr::V6(group.v6())].into_iter().find_map(|group| {
            let found = interfaces(group, &[]).ok().filter(|found| !found.is_empty())?;
            Some((SocketAddr::new(group, MULTICAST_PORT), found))
        })?;
    // The server decides what is fresh: it tells each object.
    Some(ReceiveOptions {
        group,
        interfaces,
        label: label(&device.to_string()),
        clock: None,
        stop: Arc::clone(stop),
    })
}

/// A secret of the right length.
pub(super) fn secret(bytes: &[u8]) -> Option<Secret> {
    Some(Secret::new(bytes.try_into().ok()?))
}

/// The key of an epoch, whose packets name the lower half of its number.
#[allow(clippy::cast_possible_truncation)] // two epochs that share it have other secrets
pub(super) fn epoch(number: u32, shared: &[u8]) -> Option<EpochKey> {
    Some(EpochKey { epoch: number as u16, secret: secret(shared)? })
}
