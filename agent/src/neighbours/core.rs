//! Who is there, when to say so, and which datagrams are worth a look: bytes and time in, decisions out.
//!
//! Each round is one beacon on each link by each family, a second apart. All agents of a network together say about one
//! a second, however many they are: each counts those whom it hears, and waits the longer. A round that is due is put off
//! when more were heard meanwhile, so that a network that was switched on at once does not say everything at once
//! (RTCP's timer reconsideration, RFC 3550, 6.3).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_discovery::name::Text;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::beacon::{BEACON_WINDOW, Beacon, BeaconError, EVERY_MAX, EVERY_MIN, Presence};
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Trust};
use rustls::pki_types::UnixTime;

use super::Neighbour;
use crate::random::Random;

/// As whom this device speaks, and whom it believes.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    pub(super) principal: Principal,
    pub(super) identity: Identity,
    pub(super) trust: Trust,
    pub(super) crls: Arc<Crls>,
    pub(super) name: String,
}

/// An address of this device on one of its links; two links may have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Own {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this from there.
    Send(Own, Vec<u8>),
    /// Somebody said from this address that it is there.
    Heard(IpAddr),
    /// Others are there than before.
    Stand(Vec<Neighbour>),
}

/// The agents around this one.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    speaker: Speaker,
    random: Random,
    known: BTreeMap<DeviceId, Known>,
    /// Where a beacon is sent from in each round.
    own: Vec<Own>,
    round: Round,
    /// Unix seconds of the last beacon: no two have the same.
    last_sent: u64,
    budget: Budget,
    outputs: VecDeque<Output>,
}

/// What was heard of a device.
#[derive(Debug)]
struct Known {
    name: String,
    sent: u64,
    /// Where from, and until when that counts.
    addresses: BTreeMap<IpAddr, Instant>,
    until: Instant,
}

/// When to speak.
#[derive(Debug)]
enum Round {
    /// The next begins then, if nobody else was heard since; a part of the interval was drawn at `since`.
    Waiting { since: Instant, part: u64, due: Instant },
    /// Who is left to speak in this one, and when the next is due.
    Speaking { left: VecDeque<Own>, next: Instant },
}

/// Signatures that are checked: so many, and so many more each second.
#[derive(Debug)]
struct Budget {
    left: u64,
    filled: Instant,
}

impl Neighbourhood {
    pub(super) fn new(now: Instant, speaker: Speaker, mut random: Random) -> Self {
        let part = random.below(PARTS);
        Self {
            speaker,
            random,
            known: BTreeMap::new(),
            own: Vec::new(),
            round: Round::Waiting { since: now, part, due: now + share(part, FIRST) },
            last_sent: 0,
            budget: Budget { left: BURST, filled: now },
            outputs: VecDeque::new(),
        }
    }

    /// Speaks as this device from now on, and believes whom it says.
    pub(super) fn identify(&mut self, speaker: Speaker) {
        self.speaker = speaker;
    }

    /// Has these addresses from now on.
    pub(super) fn present(&mut self, own: impl IntoIterator<Item = Own>) {
        self.own = own.into_iter().take(LINKS).collect();
    }

    /// Takes in a datagram that came from an address of the link; `wall` is the fabric's time.
    ///
    /// # Errors
    /// Why it says nothing.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        wall: UnixTime,
        from: IpAddr,
        bytes: &[u8],
    ) -> Result<(), Unheard> {
        let opened = Beacon::open(bytes, &self.speaker.principal, from, wall)?;
        let device = opened.device;
        if device == self.speaker.principal.id() {
            return Err(Unheard::Own);
        }
        match self.known.get(&device) {
            Some(known) if opened.presence.sent <= known.sent => return Err(Unheard::Again),
            None if self.known.len() >= CAPACITY => return Err(Unheard::Crowded),
            _ => {}
        }
        if !self.budget.take(now) {
            return Err(Unheard::Busy);
        }
        let presence = opened.verify(&self.speaker.trust, &self.speaker.crls, wall)?;
        self.learn(now, device, presence);
        Ok(())
    }

    fn learn(&mut self, now: Instant, device: DeviceId, presence: Presence) {
        let Presence { sent, address, every, name } = presence;
        // What it says is its own word still: text that acts on nothing.
        let name = Text::new(&name).map(|name| name.to_string()).unwrap_or_default();
        let until = now + 3 * every + 2 * BEACON_WINDOW;
        let fresh = || Known { name: String::new(), sent, addresses: BTreeMap::new(), until };
        let is_new = !self.known.contains_key(&device);
        let known = self.known.entry(device).or_insert_with(fresh);
        let is_news = is_new || known.name != name || !known.addresses.contains_key(&address);
        (known.sent, known.until, known.name) = (sent, until, name);
        known.addresses.insert(address, until);
        if known.addresses.len() > ADDRESSES {
            let oldest = known.addresses.iter().min_by_key(|(_, until)| **until).map(|(address, _)| *address);
            oldest.and_then(|oldest| known.addresses.remove(&oldest));
        }
        self.outputs.push_back(Output::Heard(address));
        if is_news {
            self.stand();
        }
    }

    /// Says what is due, and forgets whom nobody hears any more.
    pub(super) fn handle_timeout(&mut self, now: Instant, wall: UnixTime) {
        self.expire(now);
        match &mut self.round {
            Round::Waiting { since, part, due } if now >= *due => {
                let whole = if self.last_sent == 0 { FIRST } else { EVERY_MIN };
                let due = *since + share(*part, whole.max(interval(self.known.len())));
                self.round = match now >= due {
                    true => Round::Speaking { left: self.own.iter().copied().collect(), next: now },
                    false => Round::Waiting { since: *since, part: *part, due },
                };
            }
            Round::Waiting { .. } | Round::Speaking { .. } => {}
        }
        self.speak(now, wall);
    }

    fn speak(&mut self, now: Instant, wall: UnixTime) {
        let Round::Speaking { left, next } = &mut self.round else { return };
        if now < *next {
            return;
        }
        let own = left.pop_front();
        *next = now + APART;
        if left.is_empty() {
            let (part, whole) = (self.random.below(PARTS), interval(self.known.len()));
            // The second after the last beacon is kept free, too.
            let due = (now + share(part, whole)).max(now + APART);
            self.round = Round::Waiting { since: now, part, due };
        }
        if let Some(own) = own {
            self.say(own, wall);
        }
    }

    fn say(&mut self, own: Own, wall: UnixTime) {
        let (wall, every) = (wall.as_secs(), interval(self.known.len()));
        // A clock that was set back far is believed: what is said in its future would be refused for as long.
        let was_set_back = self.last_sent > wall + BEACON_WINDOW.as_secs();
        let sent = if was_set_back { wall } else { wall.max(self.last_sent + 1) };
        let presence = Presence { sent, address: own.address, every, name: self.speaker.name.clone() };
        self.last_sent = sent;
        match Beacon::seal(&self.speaker.identity, &presence) {
            Ok(bytes) => self.outputs.push_back(Output::Send(own, bytes)),
            Err(error) => tracing::debug!(%error, "the neighbours are not told of this device"),
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut is_news = false;
        for known in self.known.values_mut() {
            let before = known.addresses.len();
            known.addresses.retain(|_, until| *until > now);
            is_news |= known.addresses.len() != before;
        }
        let before = self.known.len();
        self.known.retain(|_, known| known.until > now);
        if is_news || self.known.len() != before {
            self.stand();
        }
    }

    fn stand(&mut self) {
        let shown = |(device, known): (&DeviceId, &Known)| Neighbour {
            device: device.to_string(),
            name: known.name.clone(),
            addresses: known.addresses.keys().map(ToString::to_string).collect(),
        };
        let neighbours = self.known.iter().map(shown).collect();
        // Only the last of several is worth telling.
        self.outputs.retain(|output| !matches!(output, Output::Stand(_)));
        self.outputs.push_back(Output::Stand(neighbours));
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Neighbourhood::handle_timeout`] at the latest.
    pub(super) fn poll_timeout(&self) -> Instant {
        let speak = match &self.round {
            Round::Waiting { due, .. } => *due,
            Round::Speaking { next, .. } => *next,
        };
        let ends = self.known.values().flat_map(|known| known.addresses.values());
        ends.copied().chain([speak]).min().unwrap_or(speak)
    }
}

/// A datagram that says nothing to this device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    #[error(transparent)]
    Refused(#[from] BeaconError),
    #[error("it is this device's own")]
    Own,
    #[error("it was heard before, or one that was sent later")]
    Again,
    #[error("there are {CAPACITY} neighbours already")]
    Crowded,
    #[error("more datagrams came than are looked at in a second")]
    Busy,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        if passed >= EACH {
            (self.left, self.filled) =
                (BURST.min(self.left + passed.as_secs().saturating_mul(PER_SECOND)), now);
        }
        let has_some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_some
    }
}

/// How long a round lasts on the average when so many others are heard: two packets of each, one a second of all.
fn interval(others: usize) -> Duration {
    let seconds = u64::try_from(2 * (others + 1)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).clamp(EVERY_MIN, EVERY_MAX)
}

/// From half of `whole` to half as much again (RFC 3550, 6.3.5).
fn share(part: u64, whole: Duration) -> Duration {
    let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + micros.saturating_mul(part) / PARTS)
}

/// The first round is due in so long, while nobody else is heard.
const FIRST: Duration = Duration::from_secs(4);
/// Between two packets of one agent.
const APART: Duration = Duration::from_secs(1);
/// Neighbours that are remembered: with more than a /22 in one broadcast domain, some are not shown.
const CAPACITY: usize = 1024;
/// Addresses of a neighbour.
const ADDRESSES: usize = 8;
/// Own addresses that beacons are sent from: with more, a round would take long.
const LINKS: usize = 16;
/// Signatures that are checked at once, and each second: two beacons a second is what a network says, and each takes a
/// third of a millisecond.
const BURST: u64 = 64;
const PER_SECOND: u64 = 16;
const EACH: Duration = Duration::from_secs(1);
/// Steps of what is drawn.
const PARTS: u64 = 1 << 16;

#[cfg(test)]
mod tests;
