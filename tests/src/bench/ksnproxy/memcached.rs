//! memcached with one thread, asked in its binary protocol; it keeps the same verdicts under the same keys.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cloud::VERDICT;
use super::codec::KEY;
use super::generator::Protocol;
use super::keys::key;
use super::pipeline::Dialect;
use super::rig::Rig;
use crate::fleet::PATIENCE;
use crate::lab::Process;

/// Starts it on the servers' core, with room for so many MiB.
pub(super) fn start(rig: &Rig, memory: u32) -> Result<Process> {
    let mut command = Command::new("memcached");
    let (port, memory) = (PORT.to_string(), memory.to_string());
    command.args(["-u", "nobody", "-t", "1", "-p", &port, "-U", &port, "-m", &memory]);
    command.args(["-l", &rig.address().to_string()]);
    let process = rig.core().spawn("memcached", command)?;
    rig.server.wait_for_listener(PORT, PATIENCE)?;
    Ok(process)
}

/// Has it keep the verdicts of so many keys; to be called on the machine of those who ask.
pub(super) fn fill(rig: &Rig, keys: u32) -> Result<()> {
    let mut stream = TcpStream::connect(rig.at(PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut output = Vec::with_capacity(2 * CHUNK);
    for number in 0..keys {
        output.extend(request(SET_QUIETLY, 8, KEY + 8 + VALUE));
        output.extend([0; 8]);
        output.extend(key(number).encode());
        output.extend(VERDICT.pack());
        if output.len() > CHUNK {
            stream.write_all(&output)?;
            output.clear();
        }
    }
    output.extend(request(NOTHING, 0, 0));
    stream.write_all(&output)?;
    // Only what fails is answered before this one.
    let mut answer = [0; HEADER];
    stream.read_exact(&mut answer).context("memcached says nothing")?;
    ensure!(answer[..2] == [ANSWER, NOTHING], "memcached refuses a key: {answer:?}");
    Ok(())
}

/// GET by datagrams.
pub(super) struct Datagrams;

impl Protocol for Datagrams {
    fn query(&mut self, serial: u64, number: u32, room: &mut [u8]) -> usize {
        let [.., high, low] = serial.to_be_bytes();
        room[..FRAME].copy_from_slice(&[high, low, 0, 0, 0, 1, 0, 0]);
        room[FRAME..][..HEADER].copy_from_slice(&request(GET, 0, KEY));
        room[FRAME + HEADER..][..KEY].copy_from_slice(&key(number).encode());
        FRAME + HEADER + KEY
    }

    fn answer(&mut self, datagram: &mut [u8]) -> Option<u64> {
        let ([high, low, ..], answer) = datagram.split_first_chunk::<FRAME>()?;
        is_verdict(answer).then(|| u64::from(u16::from_be_bytes([*high, *low])))
    }
}

/// GET on a connection.
pub(super) struct Stream;

impl Dialect for Stream {
    fn ask(&mut self, number: u32, output: &mut Vec<u8>) {
        output.extend(request(GET, 0, KEY));
        output.extend(key(number).encode());
    }

    fn length(&self) -> usize {
        HEADER + 4 + VALUE
    }

    fn is_answer(&self, answer: &[u8]) -> bool {
        is_verdict(answer)
    }
}

/// A header: a key of [`KEY`] bytes with what has one, so many bytes of extras, and `body` bytes in all behind it.
fn request(opcode: u8, extras: u8, body: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[0x80, opcode]);
    header[3] = if body == 0 { 0 } else { KEY_U8 };
    header[4] = extras;
    header[8..12].copy_from_slice(&u32::try_from(body).unwrap_or(0).to_be_bytes());
    header
}

/// Whether it has no error, and the flags and the verdict behind the header.
fn is_verdict(answer: &[u8]) -> bool {
    answer.len() == HEADER + 4 + VALUE
        && answer[..2] == [ANSWER, GET]
        && answer[6..8] == [0, 0]
        && answer[HEADER + 4] == VERDICT.reputation as u8
}

pub(super) const PORT: u16 = 11_211;

/// Bytes in front of each datagram.
const FRAME: usize = 8;
const HEADER: usize = 24;
const VALUE: usize = 16;
const KEY_U8: u8 = 24;

/// The first byte of whatever it says.
const ANSWER: u8 = 0x81;
const GET: u8 = 0x00;
const NOTHING: u8 = 0x0a;
const SET_QUIETLY: u8 = 0x11;

/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;
