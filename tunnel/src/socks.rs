//! SOCKS version 5 (RFC 1928), the server's side of one client's negotiation: bytes in, decisions out.
//!
//! ```text
//! client   05 n methods ──▶          05 cmd 00 atyp address port ──▶              bytes ──▶
//! server                ◀── 05 00                                ◀── 05 rep 00 … ◀── bytes
//! ```
//! Each message says early how long it is. So no byte is taken that belongs to what follows, and none is kept beyond the
//! longest message. The one method is "no authentication": who may connect at all is decided before. The one command
//! is CONNECT.

mod message;

use std::num::NonZeroU16;

use crate::grant::Host;
use message::{Greeting, Parsed, Request};

pub use message::Reply;

/// The negotiation with one client. Give it input while it [`needs`](Negotiation::needs) any, and drain
/// [`Negotiation::poll_output`] after each call.
#[derive(Debug)]
pub struct Negotiation {
    state: State,
    /// Of the message that is being read.
    input: Vec<u8>,
    output: Option<Output>,
}

/// What the client is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Which methods it offers; so many bytes are missing at least.
    Greeting(usize),
    /// What it asks for.
    Request(usize),
    /// Nothing more that is ours to read.
    Ended,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Send this; the client goes on.
    Send(Vec<u8>),
    /// Connect to this, and send the encoded [`Reply`] that says what came of it.
    Connect(Destination),
    /// Send this and close.
    Refuse(Vec<u8>),
    /// Close: the client speaks something else.
    Close,
}

/// Where a client wants to be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// An address or a name, never empty. Names are for the other end to resolve.
    pub host: Host,
    /// The port.
    pub port: NonZeroU16,
}

impl Negotiation {
    /// Begins with the client's greeting.
    pub fn new() -> Self {
        Self { state: State::Greeting(Greeting::HEAD), input: Vec::new(), output: None }
    }

    /// Takes bytes off the front of `bytes`, and gives how many: none that follow the message that is due, and none
    /// while there is output.
    pub fn handle_input(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.output.is_none() && taken < bytes.len() && self.needs() > 0 {
            let more = self.needs().min(bytes.len() - taken);
            self.input.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
            self.count(more);
        }
        taken
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// How many bytes are missing at least; 0 once the negotiation is over.
    pub const fn needs(&self) -> usize {
        match self.state {
            State::Greeting(missing) | State::Request(missing) => missing,
            State::Ended => 0,
        }
    }

    /// Judges what came once it is all that was known to be missing.
    fn count(&mut self, more: usize) {
        match &mut self.state {
            State::Greeting(missing) | State::Request(missing) if *missing > more => *missing -= more,
            _ => self.judge(),
        }
    }

    fn judge(&mut self) {
        match self.state {
            State::Greeting(_) => match Greeting::parse(&self.input) {
                Parsed::Needs(missing) => self.state = State::Greeting(missing),
                Parsed::Foreign => self.end(Output::Close),
                Parsed::Whole(greeting) if greeting.offers_none => {
                    self.state = State::Request(Request::HEAD);
                    self.input.clear();
                    self.output = Some(Output::Send(vec![VERSION, NO_AUTHENTICATION]));
                }
                Parsed::Whole(_) => self.end(Output::Refuse(vec![VERSION, NO_METHOD])),
            },
            State::Request(_) => match Request::parse(&self.input) {
                Parsed::Needs(missing) => self.state = State::Request(missing),
                Parsed::Foreign => self.end(Output::Close),
                Parsed::Whole(Request::Connect(destination)) => self.end(Output::Connect(destination)),
                Parsed::Whole(Request::Refused(reply)) => self.end(Output::Refuse(reply.encode())),
            },
            State::Ended => {}
        }
    }

    fn end(&mut self, output: Output) {
        self.state = State::Ended;
        self.input = Vec::new();
        self.output = Some(output);
    }
}

impl Default for Negotiation {
    fn default() -> Self {
        Self::new()
    }
}

/// The protocol's version, first in each message.
const VERSION: u8 = 5;
/// The method "no authentication required".
const NO_AUTHENTICATION: u8 = 0;
/// "No acceptable methods".
const NO_METHOD: u8 = 0xff;

/// The longest that a client can send before it is connected or refused: 255 methods, and a name of 255 bytes.
pub const INPUT_LIMIT: usize = 2 + 255 + 5 + 255 + 2;

#[cfg(test)]
mod tests;
