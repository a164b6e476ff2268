//! Tickets: a key that a device and a proxy share for some hours, and which of its counters were seen.

mod replay;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::header::{Header, Malformed, TAG};
use replay::Window;

/// What a device is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What the ticket is called on the wire; not zero.
    pub number: u64,
    /// Seconds it is good for.
    pub lifetime: u32,
    /// The key.
    pub key: Zeroizing<[u8; 16]>,
}

/// Seals and opens frames with the key of a ticket.
pub struct Sealer(LessSafeKey);

/// Who sends a sealed frame; one counter is used once by each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// From the device.
    Query = 0,
    /// To the device.
    Answer = 1,
}

/// A ticket as the proxy knows it.
#[derive(Debug)]
pub struct Session {
    /// What queries and answers are sealed with.
    pub sealer: Sealer,
    /// Whose it is: the id in the device's certificate.
    pub device: [u8; 16],
    /// The serial number of that certificate.
    serial: Box<[u8]>,
    /// Whoever holds the session sees when it ends before its time.
    expires: AtomicU32,
    window: Window,
    asked: AtomicU64,
}

/// Every ticket that is good, at most `capacity` of them.
#[derive(Debug)]
pub struct Tickets {
    sessions: RwLock<HashMap<u64, Arc<Session>>>,
    capacity: usize,
    lifetime: u32,
}

/// A frame that the key did not seal, or that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not authentic")]
pub struct NotAuthentic;

/// There is no room for another ticket before one of the others ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {0} tickets are in use")]
pub struct Full(pub usize);

impl Ticket {
    /// Bytes of its form on the wire.
    pub const LENGTH: usize = 32;

    /// Its form on the wire.
    pub fn encode(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.lifetime.to_be_bytes());
        bytes[16..].copy_from_slice(self.key.as_slice());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (number, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
        let (lifetime, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let ([0, 0, 0, 0], key) = rest.split_first_chunk().ok_or(Malformed)? else { return Err(Malformed) };
        let key = Zeroizing::new(key.try_into().map_err(|_| Malformed)?);
        let number = u64::from_be_bytes(*number);
        if number == 0 {
            return Err(Malformed);
        }
        Ok(Self { number, lifetime: u32::from_be_bytes(*lifetime), key })
    }
}

impl Sealer {
    /// Seals with `key`.
    pub fn new(key: &[u8; 16]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("the length is that of the algorithm");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts the body of `frame` where it is; its last [`TAG`] bytes are room for the tag. The header is authenticated.
    ///
    /// # Panics
    /// When the frame has no room for a header and a tag.
    pub fn seal(&self, direction: Direction, serial: u64, frame: &mut [u8]) {
        let (header, sealed) = frame.split_at_mut(Header::LENGTH);
        let (body, room) = sealed.split_at_mut(sealed.len() - TAG);
        let tag = self.0.seal_in_place_separate_tag(nonce(direction, serial), Aad::from(header), body);
        room.copy_from_slice(tag.expect("a frame is shorter than the algorithm's limit").as_ref());
    }

    /// Makes a plain query ([`crate::frame::encode_query`]) whose serial is a counter that was not used before a sealed one.
    ///
    /// # Panics
    /// When `frame` is no frame.
    pub fn seal_query(&self, frame: &mut Vec<u8>) {
        let header = Header::parse(frame).expect("a query begins with its header");
        let sealed = Header { sealed: true, ..header }.with_body(frame.len() - Header::LENGTH, 1);
        frame[..Header::LENGTH].copy_from_slice(&sealed.encode());
        frame.resize(frame.len() + TAG, 0);
        self.seal(Direction::Query, header.serial, frame);
    }

    /// Decrypts the body of `frame` where it is, and returns it.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    pub fn open<'a>(
        &self,
        direction: Direction,
        serial: u64,
        frame: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        let (header, sealed) = frame.split_at_mut_checked(Header::LENGTH).ok_or(NotAuthentic)?;
        self.0.open_in_place(nonce(direction, serial), Aad::from(header), sealed).map_err(|_| NotAuthentic)
    }
}

impl Session {
    /// Opens a query and takes its counter, which nothing is opened with again.
    ///
    /// # Errors
    /// [`NotAuthentic`], also for what was opened before or is too old to know.
    pub fn open<'a>(&self, serial: u64, frame: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        if !self.window.is_new(serial) {
            return Err(NotAuthentic);
        }
        let body = self.sealer.open(Direction::Query, serial, frame)?;
        if self.window.take(serial) { Ok(body) } else { Err(NotAuthentic) }
    }

    /// Counts what the device asked about.
    pub fn count(&self, keys: u8) {
        self.asked.fetch_add(keys.into(), Ordering::Relaxed);
    }

    /// Whether its time is not over.
    pub fn is_good(&self, unix: u32) -> bool {
        unix < self.expires.load(Ordering::Relaxed)
    }
}

impl Tickets {
    /// Room for `capacity` tickets, each good for `lifetime` seconds.
    pub fn new(capacity: usize, lifetime: u32) -> Self {
        Self { sessions: RwLock::default(), capacity, lifetime }
    }

    /// Makes a ticket for a device, by the serial number of its certificate, out of 24 random bytes.
    ///
    /// # Errors
    /// [`Full`]: a ticket that is in use is not thrown away, or what was sent with it could be sent again.
    pub fn issue(
        &self,
        device: [u8; 16],
        serial: &[u8],
        random: &Zeroizing<[u8; 24]>,
        unix: u32,
    ) -> Result<Ticket, Full> {
        let (number, key) = random.split_first_chunk().expect("24 bytes are more than 8");
        let key: [u8; 16] = key.try_into().expect("24 bytes are 8 and 16");
        let number = u64::from_be_bytes(*number) | 1;
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= self.capacity {
            sessions.retain(|_, session| session.is_good(unix));
        }
        if sessions.len() >= self.capacity || sessions.contains_key(&number) {
            return Err(Full(self.capacity));
        }
        let expires = unix.saturating_add(self.lifetime);
        let session = Session {
            sealer: Sealer::new(&key),
            device,
            serial: serial.into(),
            expires: AtomicU32::new(expires),
            window: Window::default(),
            asked: AtomicU64::new(0),
        };
        sessions.insert(number, Arc::new(session));
        Ok(Ticket { number, lifetime: self.lifetime, key: Zeroizing::new(key) })
    }

    /// Ends the tickets that were given for certificates of these serial numbers, and says how many those are.
    pub fn end(&self, is_over: impl Fn(&[u8]) -> bool) -> usize {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let before = sessions.len();
        sessions.retain(|_, session| {
            let over = is_over(&session.serial);
            if over {
                session.expires.store(0, Ordering::Relaxed);
            }
            !over
        });
        before - sessions.len()
    }

    /// The devices that have a ticket, and how many keys they asked about with those they have.
    pub fn devices(&self, unix: u32) -> Vec<([u8; 16], u64)> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let mut devices = BTreeMap::new();
        for session in sessions.values().filter(|session| session.is_good(unix)) {
            *devices.entry(session.device).or_default() += session.asked.load(Ordering::Relaxed);
        }
        devices.into_iter().collect()
    }

    /// How many there can be.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The ticket with this number, while it is good.
    pub fn find(&self, number: u64, unix: u32) -> Option<Arc<Session>> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&number).filter(|session| session.is_good(unix)).cloned()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("number", &self.number)
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([redacted])")
    }
}

fn nonce(direction: Direction, serial: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&(direction as u32).to_be_bytes());
    nonce[4..].copy_from_slice(&serial.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Op;

    #[test]
    fn a_query_opens_once() {
        let (tickets, ticket) = issued();
        let session = tickets.find(ticket.number, 0).unwrap();
        let sealed = query(&ticket, 1);
        assert_eq!(session.open(1, &mut sealed.clone()).unwrap(), b"body");
        assert_eq!(session.open(1, &mut sealed.clone()), Err(NotAuthentic));
    }

    #[test]
    fn no_flipped_bit_opens_and_none_uses_the_counter_up() {
        let (tickets, ticket) = issued();
        let session = tickets.find(ticket.number, 0).unwrap();
        let sealed = query(&ticket, 1);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(session.open(1, &mut changed), Err(NotAuthentic), "bit {bit}");
        }
        assert!(session.open(2, &mut sealed.clone()).is_err());
        assert!(session.open(1, &mut sealed.clone()).is_ok());
    }

    #[test]
    fn an_answer_is_no_query() {
        let (tickets, ticket) = issued();
        let mut frame = query(&ticket, 1);
        Sealer::new(&ticket.key).open(Direction::Query, 1, &mut frame).unwrap();
        Sealer::new(&ticket.key).seal(Direction::Answer, 1, &mut frame);
        assert!(tickets.find(ticket.number, 0).unwrap().open(1, &mut frame).is_err());
    }

    #[test]
    fn a_ticket_ends_and_makes_room_then_but_not_before() {
        let tickets = Tickets::new(1, 10);
        let first = tickets.issue([1; 16], &[1], &Zeroizing::new([1; 24]), 100).unwrap();
        assert_eq!(tickets.issue([2; 16], &[2], &Zeroizing::new([3; 24]), 109), Err(Full(1)));
        assert!(tickets.find(first.number, 109).is_some());
        assert!(tickets.find(first.number, 110).is_none());
        assert!(tickets.issue([2; 16], &[2], &Zeroizing::new([3; 24]), 110).is_ok());
    }

    #[test]
    fn a_ticket_that_is_ended_is_over_also_for_who_holds_it() {
        let (tickets, ticket) = issued();
        let session = tickets.find(ticket.number, 0).unwrap();
        assert_eq!(tickets.end(|serial| serial == [8]), 0);
        assert!(session.is_good(0));
        assert_eq!(tickets.end(|serial| serial == [9]), 1);
        assert!(!session.is_good(0) && tickets.find(ticket.number, 0).is_none());
    }

    #[test]
    fn a_ticket_reads_as_it_was_written_and_never_prints_its_key() {
        let (_, ticket) = issued();
        assert_eq!(Ticket::decode(ticket.encode().as_slice()), Ok(ticket.clone()));
        for length in [0, 31, 33] {
            assert_eq!(Ticket::decode(&vec![1; length]), Err(Malformed));
        }
        assert!(!format!("{ticket:?}").contains("1, 1"));
    }

    fn issued() -> (Tickets, Ticket) {
        let tickets = Tickets::new(10, 3600);
        let ticket = tickets.issue([9; 16], &[9], &Zeroizing::new([1; 24]), 0).unwrap();
        (tickets, ticket)
    }

    fn query(ticket: &Ticket, serial: u64) -> Vec<u8> {
        let header =
            Header { op: Op::Query, sealed: true, count: 1, length: 0, token: ticket.number, serial };
        let mut frame = [header.encode().as_slice(), b"body", &[0; TAG]].concat();
        Sealer::new(&ticket.key).seal(Direction::Query, serial, &mut frame);
        frame
    }
}
