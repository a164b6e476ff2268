//! The sessions of connected devices: who is there, and how to tell them something.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::message::{GoAway, Message};
use klnet_wire::net::link::{Command, Commands};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// One session for each connected device.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<DeviceId, Live>>);

/// A session others can reach.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) tenant: TenantId,
    /// Numbers sessions: an epoch is the agent's word, and two sessions may name the same.
    pub(crate) serial: u64,
    pub(crate) epoch: u64,
    /// [`Hello::boot_id`](klnet_wire::message::Hello::boot_id): the agent's process.
    pub(crate) boot_id: Bytes,
    /// Changes whenever the device answers a PING.
    pub(crate) pongs: watch::Sender<()>,
    pub(crate) commands: Commands,
    /// Cancelled when the session must end at once, without a last word.
    pub(crate) cut: CancellationToken,
}

/// A message that did not get on its way to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// It has no session.
    #[error("the device is not connected")]
    Offline,
    /// Its session does not take more.
    #[error("the device does not keep up with what it is told")]
    Stalled,
}

impl Sessions {
    /// Sends a message to a device's session, if it is still the one of `epoch` (any, when `None`).
    ///
    /// # Errors
    /// [`SendFailure`]; it never waits.
    pub fn send(&self, device: DeviceId, epoch: Option<u64>, message: Message) -> Result<(), SendFailure> {
        let live = self.live(device).filter(|live| epoch.is_none_or(|epoch| epoch == live.epoch));
        live.ok_or(SendFailure::Offline)?.tell(message)
    }

    /// The epoch of a device's session; `None` while it is offline.
    pub fn epoch(&self, device: DeviceId) -> Option<u64> {
        self.live(device).map(|live| live.epoch)
    }

    /// Every session.
    pub(crate) fn all(&self) -> Vec<(DeviceId, Live)> {
        let sessions = self.0.lock().expect("no holder panics");
        sessions.iter().map(|(device, live)| (*device, live.clone())).collect()
    }

    pub(crate) fn live(&self, device: DeviceId) -> Option<Live> {
        self.0.lock().expect("no holder panics").get(&device).cloned()
    }

    /// Makes this the device's session; an older one loses its place and ends.
    pub(crate) fn insert(&self, device: DeviceId, live: Live) {
        let older = self.0.lock().expect("no holder panics").insert(device, live);
        if let Some(older) = older {
            let last = GoAway { reason: "a newer session took over".into(), ..GoAway::default() };
            older.end(last, "replaced");
        }
    }

    /// Forgets a session unless a newer one has taken its place; says whether it was still the device's.
    pub(crate) fn remove(&self, device: DeviceId, serial: u64) -> bool {
        let mut sessions = self.0.lock().expect("no holder panics");
        let ours = sessions.get(&device).is_some_and(|live| live.serial == serial);
        if ours {
            sessions.remove(&device);
        }
        ours
    }
}

impl Live {
    /// Sends a message to this session.
    ///
    /// # Errors
    /// [`SendFailure`]; it never waits.
    pub(crate) fn tell(&self, message: Message) -> Result<(), SendFailure> {
        self.commands.try_send(Box::new(Command::Send(message))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendFailure::Stalled,
            mpsc::error::TrySendError::Closed(_) => SendFailure::Offline,
        })
    }

    /// Ends the session with a last word; one too busy to hear it is cut. Either way its own task sees to the rest.
    pub(crate) fn end(&self, last: GoAway, reason: &str) {
        let last = Command::Finish(Message::GoAway(last), reason.to_owned());
        if self.commands.try_send(Box::new(last)).is_err() {
            self.cut.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_session_hears_of_it() {
        let (sessions, device) = (Sessions::default(), DeviceId::random());
        let (older, mut commanded) = live(1);
        sessions.insert(device, older.clone());
        sessions.insert(device, live(2).0);
        let heard = commanded.try_recv().map(|command| *command);
        assert!(matches!(heard, Ok(Command::Finish(Message::GoAway(_), _))));
        assert!(!older.cut.is_cancelled());
        assert!(!sessions.remove(device, 1), "its end takes nothing from the newer one");
        assert_eq!(sessions.live(device).unwrap().serial, 2);
    }

    #[test]
    fn a_replaced_session_too_busy_to_hear_of_it_is_cut() {
        let (sessions, device) = (Sessions::default(), DeviceId::random());
        let (older, _commanded) = live(1);
        older.commands.try_send(Box::new(Command::Ping)).unwrap();
        sessions.insert(device, older.clone());
        sessions.insert(device, live(2).0);
        assert!(older.cut.is_cancelled());
    }

    fn live(serial: u64) -> (Live, mpsc::Receiver<Box<Command>>) {
        let (commands, commanded) = mpsc::channel(1);
        let cut = CancellationToken::new();
        let (boot_id, pongs) = Default::default();
        let tenant = TenantId::random();
        (Live { tenant, serial, epoch: serial, boot_id, pongs, commands, cut }, commanded)
    }
}
