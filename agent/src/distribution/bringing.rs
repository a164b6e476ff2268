//! A distribution point at work: it fetches each object from the server, once, sends it to its group, and serves it.
//!
//! ```text
//! told ─▶ fetched, verified ─▶ announced ── GRACE ─▶ served by HTTPS, too
//!                │                └─ sent, as long as anybody asks ─▶ next object
//!                └─ for few: served at once, and not sent
//! ```
//! It holds no key that makes objects: what it cannot verify it neither sends nor serves.

use std::net::IpAddr;
use std::sync::Arc;

use klnet_multicast::net as multicast;
use klnet_wire::duties::{ADDRESSES_LIMIT, Point};
use klnet_wire::id::DistributionId;
use klnet_wire::message::PointState;

use super::files::Files;
use super::object::Object;
use super::place::Place;
use super::sending::Sending;
use super::strangers::Strangers;
use super::wares::Wares;

/// Brings objects until it is dropped.
#[derive(Debug)]
pub(super) struct Bringing {
    wares: Wares,
    sending: Sending,
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
        strangers: &Arc<Strangers>,
    ) -> std::io::Result<Self> {
        let files = Arc::new(Files::listen(place).await?);
        let (place, strangers) = (Arc::clone(place), Arc::clone(strangers));
        let wares = Wares { place, files, sent: Arc::default(), strangers };
        Ok(Self { sending: Sending::start(wares.clone(), point, objects), wares })
    }

    /// Brings these from now on, with these keys: members change over to another epoch, what was sent stays so.
    pub(super) fn bring(&mut self, point: Point, objects: Vec<Object>) {
        let is_known = |id: &DistributionId| objects.iter().any(|object| object.id == *id);
        self.wares.files.retain(|id| is_known(&id));
        self.wares.sent.lock().expect("no holder panics").retain(is_known);
        if self.sending.is_with(&point) {
            return self.sending.send(objects);
        }
        // Nothing more goes out under the keys of before.
        self.sending.stop();
        self.sending = Sending::start(self.wares.clone(), point, objects);
    }

    /// An object that it has.
    pub(super) fn object(&self, id: DistributionId) -> Option<Arc<multicast::Object>> {
        self.wares.files.object(id)
    }
}

/// What the server is told of this distribution point, and of who sends to its groups and is none of ours.
pub(super) fn state(place: &Place, foreign: Option<IpAddr>) -> PointState {
    let is_known = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    let addresses = crate::platform::own_addresses().into_iter().filter(is_known);
    PointState {
        announcer: bytes::Bytes::copy_from_slice(place.announcer.public().as_bytes()),
        addresses: addresses.take(ADDRESSES_LIMIT).map(|address| address.to_string()).collect(),
        port: place.ports.files.into(),
        foreign: foreign.map(|foreign| foreign.to_string()).unwrap_or_default(),
    }
}
