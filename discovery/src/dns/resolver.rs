//! Names of many addresses at once: questions in flight on several ports, each tried again, none waited for alone.
//!
//! A question is known by the port it left from and its identifier, drawn from a key nobody else has, so that an answer
//! can only be forged by guessing both.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::reverse::{Reply, question, reply};
use super::window::Window;
use crate::cookie::CookieKey;
use crate::name::Text;

/// How a resolver goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Ports that questions leave from.
    pub ports: u8,
    /// Questions in flight on each at most; together fewer, where the server does not take so many.
    pub window: usize,
    /// Draws the identifiers.
    pub key: CookieKey,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The names of this address are wanted.
    Address(IpAddr),
    /// A datagram from the server came in at a port.
    Datagram {
        /// Its number.
        port: u8,
        /// What it holds.
        bytes: &'a [u8],
    },
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram to the server.
    Send {
        /// From the port with this number.
        port: u8,
        /// The question.
        bytes: Vec<u8>,
    },
    /// Ask by TCP: the answer is too long for a datagram.
    Long(IpAddr),
    /// The address has these names.
    Named {
        /// The address.
        address: IpAddr,
        /// Its names; may be none.
        names: Vec<Text>,
    },
    /// The server did not say.
    Unknown(IpAddr),
}

/// Asks for the names of addresses.
#[derive(Debug)]
pub struct Resolver {
    config: Config,
    waiting: VecDeque<(IpAddr, usize)>,
    flying: HashMap<(u8, u16), Flight>,
    /// In flight on each port.
    load: Vec<usize>,
    /// How many may be, on all of them.
    window: Window,
    /// When those of each try are over: since all of one try last equally long, in order.
    deadlines: [VecDeque<(Instant, u8, u16)>; TRIES.len()],
    /// Numbers the questions.
    serial: u64,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    address: IpAddr,
    attempt: usize,
    until: Instant,
}

impl Resolver {
    /// A resolver that is asked nothing yet.
    pub fn new(config: Config) -> Self {
        let load = vec![0; usize::from(config.ports.max(1))];
        let (waiting, flying) = (VecDeque::new(), HashMap::new());
        let deadlines = [(); TRIES.len()].map(|()| VecDeque::new());
        let window = Window::new(load.len().saturating_mul(config.window));
        Self { config, waiting, flying, load, window, deadlines, serial: 0, outputs: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Address(address) => self.waiting.push_back((address, 0)),
            Input::Datagram { port, bytes } => self.datagram(port, bytes),
        }
        self.launch(now);
    }

    fn datagram(&mut self, port: u8, bytes: &[u8]) {
        let Some(id) = bytes.first_chunk().map(|id| u16::from_be_bytes(*id)) else { return };
        let Some(flight) = self.flying.get(&(port, id)).copied() else { return };
        let Some(reply) = reply(id, flight.address, bytes) else { return };
        self.land(port, id);
        self.window.answered();
        self.outputs.push_back(match reply {
            Reply::Names(names) => Output::Named { address: flight.address, names },
            Reply::Truncated => Output::Long(flight.address),
            Reply::Failed => Output::Unknown(flight.address),
        });
    }

    /// Asks again what was not answered in time, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (attempt, wait) in TRIES.into_iter().enumerate() {
            while let Some((until, port, id)) = self.deadlines[attempt].front().copied()
                && until <= now
            {
                self.deadlines[attempt].pop_front();
                let over = self.flying.get(&(port, id)).copied().filter(|flight| flight.until == until);
                let Some(flight) = over else { continue };
                self.land(port, id);
                self.window.lost(until - wait, now);
                match flight.attempt + 1 {
                    next if next < TRIES.len() => self.waiting.push_front((flight.address, next)),
                    _ => self.outputs.push_back(Output::Unknown(flight.address)),
                }
            }
        }
        self.launch(now);
    }

    /// Sends questions while there is room in flight.
    fn launch(&mut self, now: Instant) {
        while let Some(port) = self.free_port()
            && let Some((address, attempt)) = self.waiting.pop_front()
        {
            let id = self.free_id(port, address);
            let until = now + TRIES[attempt];
            self.flying.insert((port, id), Flight { address, attempt, until });
            self.load[usize::from(port)] += 1;
            self.deadlines[attempt].push_back((until, port, id));
            self.outputs.push_back(Output::Send { port, bytes: question(id, address) });
        }
    }

    /// The port with the fewest questions in flight, if it has room.
    fn free_port(&self) -> Option<u8> {
        if self.flying.len() >= self.window.size() {
            return None;
        }
        let (port, load) = (0..).zip(&self.load).min_by_key(|(_, load)| **load)?;
        (*load < self.config.window).then_some(port)
    }

    /// An identifier that nothing in flight on the port has.
    fn free_id(&mut self, port: u8, address: IpAddr) -> u16 {
        loop {
            self.serial += 1;
            let [.., a, b] = self.serial.to_be_bytes();
            let [a, b, ..] = self.config.key.cookie(address, u16::from_be_bytes([a, b])).to_be_bytes();
            let id = u16::from_be_bytes([a, b]);
            if !self.flying.contains_key(&(port, id)) {
                return id;
            }
        }
    }

    fn land(&mut self, port: u8, id: u16) {
        if self.flying.remove(&(port, id)).is_some() {
            self.load[usize::from(port)] -= 1;
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Resolver::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.iter().filter_map(|row| row.front()).map(|(until, ..)| *until).min()
    }

    /// Addresses without an answer yet.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }
}

/// How long each try waits: a cache answers at once, a server far away within a second, a busy one later.
const TRIES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, MessageType};
    use hickory_proto::rr::rdata::PTR;
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;

    #[test]
    fn many_questions_fly_at_once_and_each_answer_is_found() {
        let (now, mut resolver) = (Instant::now(), resolver(4, 8));
        (0..100).for_each(|host| resolver.handle_input(now, Input::Address(address(host))));
        let mut named = 0;
        while resolver.pending() > 0 {
            let questions = sent(&mut resolver);
            assert!((1..=32).contains(&questions.len()));
            for (port, bytes) in questions {
                resolver.handle_input(now, Input::Datagram { port, bytes: &answered(&bytes) });
                named += 1;
            }
        }
        assert_eq!(named, 100);
    }

    #[test]
    fn a_question_is_asked_four_times_and_then_given_up() {
        let (start, mut resolver) = (Instant::now(), resolver(1, 1));
        resolver.handle_input(start, Input::Address(address(1)));
        for wait in [200, 600, 1400, 3000] {
            assert_eq!(sent(&mut resolver).len(), 1);
            let deadline = resolver.poll_timeout().unwrap();
            assert_eq!(deadline, start + Duration::from_millis(wait));
            resolver.handle_timeout(deadline);
        }
        assert_eq!(resolver.poll_output(), Some(Output::Unknown(address(1))));
        assert_eq!((resolver.pending(), resolver.poll_timeout()), (0, None));
    }

    #[test]
    fn an_answer_at_another_port_or_after_its_time_is_nobodys() {
        let (start, mut resolver) = (Instant::now(), resolver(2, 1));
        resolver.handle_input(start, Input::Address(address(1)));
        let [(port, bytes)] = &sent(&mut resolver)[..] else { panic!("one question") };
        let answer = answered(bytes);
        resolver.handle_input(start, Input::Datagram { port: 1 - port, bytes: &answer });
        assert_eq!(resolver.pending(), 1);
        resolver.handle_timeout(start + TRIES[0]);
        assert_eq!(sent(&mut resolver).len(), 1);
        resolver.handle_input(start, Input::Datagram { port: *port, bytes: &answer });
        assert_eq!(
            (resolver.pending(), resolver.poll_output()),
            (1, None),
            "it was asked again with another id"
        );
    }

    fn sent(resolver: &mut Resolver) -> Vec<(u8, Vec<u8>)> {
        let outputs = std::iter::from_fn(|| resolver.poll_output());
        outputs
            .filter_map(
                |output| if let Output::Send { port, bytes } = output { Some((port, bytes)) } else { None },
            )
            .collect()
    }

    fn answered(question: &[u8]) -> Vec<u8> {
        let mut message = Message::from_vec(question).unwrap();
        message.metadata.message_type = MessageType::Response;
        let name = message.queries[0].name().clone();
        let ptr = RData::PTR(PTR(Name::from_ascii("h.example.org.").unwrap()));
        message.add_answer(Record::from_rdata(name, 60, ptr));
        message.to_vec().unwrap()
    }

    fn resolver(ports: u8, window: usize) -> Resolver {
        Resolver::new(Config { ports, window, key: CookieKey::new([1; 16]) })
    }

    fn address(last: u8) -> IpAddr {
        [10, 1, 0, last].into()
    }
}
