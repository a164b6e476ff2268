//! What asks on TCP, whoever answers: some connections, each with so many queries at once, the next when all are answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::effort::Effort;
use super::keys::Draw;
use super::rig::Rig;
use crate::bench::Samples;
use crate::lab::cpu_time;
use crate::system;

/// What queries and answers look like.
pub(super) trait Dialect {
    /// Writes the query for a key.
    fn ask(&mut self, key: u32, output: &mut Vec<u8>);

    /// Bytes of each answer.
    fn length(&self) -> usize;

    /// Whether it says what it should.
    fn is_answer(&self, answer: &[u8]) -> bool;
}

/// Asks `server`, whose process is `process`, on `CONNECTIONS` connections with `depth` queries each: answers a second, and
/// nanoseconds of the server's CPU time for each.
pub(super) fn drive<const CONNECTIONS: usize>(
    rig: &Rig,
    (server, process): (SocketAddr, u32),
    make: &(dyn Fn() -> Box<dyn Dialect> + Sync),
    depth: usize,
    draw: &mut Draw,
    effort: &Effort,
) -> Result<Samples<2>> {
    rig.ask(|| {
        let lanes = (0..CONNECTIONS).map(|_| Lane::connect(server, make(), depth));
        let lanes = lanes.collect::<Result<Vec<_>>>()?;
        let lanes: [Lane; CONNECTIONS] = lanes.try_into().ok().context("as many as were made")?;
        run::<CONNECTIONS>(lanes, process, draw, effort)
    })
}

fn run<const CONNECTIONS: usize>(
    mut lanes: [Lane; CONNECTIONS],
    process: u32,
    draw: &mut Draw,
    effort: &Effort,
) -> Result<Samples<2>> {
    let (begun, mut answers) = (Instant::now(), 0_u64);
    let mut counted = None;
    for lane in &mut lanes {
        lane.ask(|| draw.next())?;
    }
    loop {
        let now = Instant::now();
        match counted {
            None if now - begun >= effort.warm_up => {
                (counted, answers) = (Some((now, cpu_time(process)?)), 0);
            }
            Some((from, cpu)) if now - from >= effort.measured => {
                let cpu = cpu_time(process)?.saturating_sub(cpu);
                let cost = cpu.as_secs_f64() * 1e9 / answers as f64;
                return Ok(Samples { figures: [answers as f64 / (now - from).as_secs_f64(), cost], cpu });
            }
            _ => {}
        }
        let ready = system::wait_readable(lanes.each_ref().map(|lane| lane.stream.as_fd()), Some(PATIENCE))?;
        ensure!(ready.contains(&true), "no answer within {PATIENCE:?}");
        for lane in lanes.iter_mut().zip(ready).filter_map(|(lane, ready)| ready.then_some(lane)) {
            answers += lane.take()?;
            if lane.missing == 0 {
                lane.ask(|| draw.next())?;
            }
        }
    }
}

/// One connection and what was asked on it.
pub(super) struct Lane {
    pub(super) stream: TcpStream,
    dialect: Box<dyn Dialect>,
    depth: usize,
    output: Vec<u8>,
    input: Box<[u8; ROOM]>,
    /// Bytes of an answer that is not whole.
    begun: usize,
    pub(super) missing: usize,
}

impl Lane {
    pub(super) fn connect(server: SocketAddr, dialect: Box<dyn Dialect>, depth: usize) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        let (output, input) = (Vec::new(), Box::new([0; ROOM]));
        Ok(Self { stream, dialect, depth, output, input, begun: 0, missing: 0 })
    }

    /// Asks as many as its depth is: all are small, and the socket is empty.
    pub(super) fn ask(&mut self, mut next: impl FnMut() -> u32) -> Result<()> {
        self.output.clear();
        for _ in 0..self.depth {
            self.dialect.ask(next(), &mut self.output);
        }
        self.missing = self.depth;
        self.stream.write_all(&self.output).context("cannot ask")
    }

    /// Takes what is there, and says how many answers that are.
    pub(super) fn take(&mut self) -> Result<u64> {
        let count = self.stream.read(&mut self.input[self.begun..]).context("cannot read")?;
        ensure!(count > 0, "the connection was closed");
        let end = self.begun + count;
        let answers = self.input[..end].chunks_exact(self.dialect.length());
        let rest = answers.remainder().len();
        let taken = answers.len();
        for answer in answers {
            ensure!(self.dialect.is_answer(answer), "this is not what was asked for: {answer:02x?}");
        }
        self.input.copy_within(end - rest..end, 0);
        self.begun = rest;
        self.missing = self.missing.checked_sub(taken).context("more answers than queries")?;
        Ok(taken as u64)
    }
}

const ROOM: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
