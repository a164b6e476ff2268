//! Our codec: plain with a cookie, and sealed under a ticket.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use klnet_ksnproxy::frame::{Header, Op, encode_query};
use klnet_ksnproxy::subject::Key;
use klnet_ksnproxy::ticket::{Direction, Sealer, Ticket};

use super::cloud::VERDICT;
use super::generator::Protocol;
use super::keys::key;

/// Plain datagrams.
pub(super) struct Plain {
    cookie: u64,
    frame: Vec<u8>,
}

/// Sealed ones.
pub(super) struct Sealed {
    number: u64,
    sealer: Sealer,
    frame: Vec<u8>,
}

impl Plain {
    /// Takes a cookie for this socket.
    pub(super) fn prove(socket: &UdpSocket) -> Result<Box<dyn Protocol>> {
        let (mut frame, mut room) = (Vec::new(), [0; 256]);
        encode_query(0, 1, &[key(0)], &mut frame);
        socket.send(&frame)?;
        let length = socket.recv(&mut room).context("no challenge")?;
        let header = Header::parse(&room[..length])?;
        ensure!(header.op == Op::Challenge, "{header:?}");
        Ok(Box::new(Self { cookie: header.token, frame }))
    }
}

impl Sealed {
    pub(super) fn under(ticket: &Ticket) -> Box<dyn Protocol> {
        Box::new(Self { number: ticket.number, sealer: Sealer::new(&ticket.key), frame: Vec::new() })
    }
}

impl Protocol for Plain {
    fn query(&mut self, serial: u64, number: u32, room: &mut [u8]) -> usize {
        self.frame.clear();
        encode_query(self.cookie, serial, &[key(number)], &mut self.frame);
        put(&self.frame, room)
    }

    fn answer(&mut self, datagram: &mut [u8]) -> Option<u64> {
        let header = answered(datagram)?;
        says(&datagram[Header::LENGTH..]).then_some(header.serial)
    }
}

impl Protocol for Sealed {
    fn query(&mut self, serial: u64, number: u32, room: &mut [u8]) -> usize {
        self.frame.clear();
        encode_query(self.number, serial, &[key(number)], &mut self.frame);
        self.sealer.seal_query(&mut self.frame);
        put(&self.frame, room)
    }

    fn answer(&mut self, datagram: &mut [u8]) -> Option<u64> {
        let header = answered(datagram).filter(|header| header.sealed)?;
        let body = self.sealer.open(Direction::Answer, header.serial, datagram).ok()?;
        says(body).then_some(header.serial)
    }
}

/// The header of an answer to one key.
pub(super) fn answered(frame: &[u8]) -> Option<Header> {
    Header::parse(frame).ok().filter(|header| header.op == Op::Answer && header.count == 1)
}

/// Whether the verdict is what the upstream says of every key.
pub(super) fn says(body: &[u8]) -> bool {
    body.first() == Some(&(VERDICT.reputation as u8))
}

/// Puts it at the beginning of the room.
pub(super) fn put(bytes: &[u8], room: &mut [u8]) -> usize {
    room[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

/// Bytes of an answer to one key on TCP.
pub(super) const ANSWER: usize = Header::LENGTH + 16;

/// Bytes of a key, for whoever keeps verdicts by it.
pub(super) const KEY: usize = Key::LENGTH;
