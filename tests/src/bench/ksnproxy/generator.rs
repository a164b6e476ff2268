//! What asks by datagrams, whoever answers: some sockets, each with so many queries on their way.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::batch::{BATCH, Batch};
use super::effort::Effort;
use super::keys::Draw;
use super::rig::Rig;
use crate::lab::cpu_time;
use crate::system;

/// What queries and answers look like.
pub(super) trait Protocol {
    /// Writes the query for a key, told from others by the low bits of `serial`, and says how long it is.
    fn query(&mut self, serial: u64, key: u32, room: &mut [u8]) -> usize;

    /// The serial of a query as far as its answer has it; `None` for anything but the answer that says what it should.
    fn answer(&mut self, datagram: &mut [u8]) -> Option<u64>;
}

/// Makes the protocol of one socket, which is connected and blocks.
pub(super) type Make<'a> = &'a (dyn Fn(&UdpSocket) -> Result<Box<dyn Protocol>> + Sync);

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// The time of a sample is over.
    Time(Effort),
    /// There were so many answers.
    Answers(u64),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Answers a second.
    pub(super) rate: f64,
    /// CPU time of the server meanwhile.
    pub(super) cpu: Duration,
    /// Queries that nothing came for in time.
    pub(super) lost: u64,
    /// How long each query took, in nanoseconds.
    pub(super) times: Histogram<u64>,
}

impl Flow {
    /// CPU time of the server for each answer, in nanoseconds.
    pub(super) fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.times.len() as f64
    }

    /// What so many of a thousand answers did not exceed, in microseconds.
    pub(super) fn within(&self, permille: f64) -> f64 {
        self.times.value_at_quantile(permille / 1000.0) as f64 / 1000.0
    }
}

/// Asks `server`, whose process is `process`, from `SOCKETS` sockets with `window` queries each.
pub(super) fn drive<const SOCKETS: usize>(
    rig: &Rig,
    (server, process): (SocketAddr, u32),
    make: Make<'_>,
    window: usize,
    draw: &mut Draw,
    until: Until,
) -> Result<Flow> {
    rig.ask(|| {
        let lanes = (0..SOCKETS).map(|_| Lane::new(server, make, window)).collect::<Result<Vec<_>>>()?;
        let lanes: [Lane; SOCKETS] = lanes.try_into().ok().context("as many lanes as sockets")?;
        run::<SOCKETS>(lanes, process, draw, until)
    })
}

fn run<const SOCKETS: usize>(
    mut lanes: [Lane; SOCKETS],
    process: u32,
    draw: &mut Draw,
    until: Until,
) -> Result<Flow> {
    let mut times = Histogram::new_with_bounds(1, 60_000_000_000, 3).context("constant bounds are sound")?;
    let (mut counted_from, mut cpu) = (Instant::now(), cpu_time(process)?);
    let (begun, mut warm) = (counted_from, matches!(until, Until::Answers(_)));
    loop {
        let now = Instant::now();
        match until {
            Until::Time(effort) if !warm && now - begun >= effort.warm_up => {
                (warm, counted_from, cpu) = (true, now, cpu_time(process)?);
                times.clear();
            }
            Until::Time(effort) if warm && now - counted_from >= effort.measured => break,
            Until::Answers(answers) if times.len() >= answers => break,
            Until::Answers(_) => ensure!(now - begun < PATIENCE, "only {} answers came", times.len()),
            Until::Time(_) => {}
        }
        for lane in &mut lanes {
            lane.ask(now, draw)?;
        }
        let ready = system::wait_readable(lanes.each_ref().map(|lane| lane.socket.as_fd()), Some(LOST))?;
        for lane in lanes.iter_mut().zip(ready).filter_map(|(lane, ready)| ready.then_some(lane)) {
            lane.take(&mut times)?;
        }
    }
    let bad: u64 = lanes.iter().map(|lane| lane.bad).sum();
    ensure!(bad == 0 || matches!(until, Until::Answers(_)), "{bad} answers are not what was asked for");
    let lost = lanes.iter().map(|lane| lane.lost).sum();
    let rate = times.len() as f64 / counted_from.elapsed().as_secs_f64();
    Ok(Flow { rate, cpu: cpu_time(process)?.saturating_sub(cpu), lost, times })
}

/// One socket and its window.
struct Lane {
    socket: UdpSocket,
    protocol: Box<dyn Protocol>,
    batch: Batch,
    window: usize,
    /// When those were sent that are on their way, by the low bits of their serials.
    sent: Box<[Option<Instant>; RING]>,
    serial: u64,
    flying: usize,
    /// When an answer came last.
    heard: Instant,
    bad: u64,
    lost: u64,
}

impl Lane {
    fn new(server: SocketAddr, make: Make<'_>, window: usize) -> Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let protocol = make(&socket)?;
        let (batch, sent) = (Batch::new(), Box::new([None; RING]));
        Ok(Self {
            socket,
            protocol,
            batch,
            window,
            sent,
            serial: 1,
            flying: 0,
            heard: Instant::now(),
            bad: 0,
            lost: 0,
        })
    }

    /// Sends as many queries as the window has room for.
    fn ask(&mut self, now: Instant, draw: &mut Draw) -> Result<()> {
        if self.flying > 0 && now - self.heard > LOST {
            // Nothing comes any more: they are lost, and others are sent.
            self.sent.fill(None);
            self.lost += std::mem::take(&mut self.flying) as u64;
        }
        if self.flying == 0 {
            self.heard = now;
        }
        while self.flying < self.window {
            let (serial, protocol, key) = (self.serial, &mut self.protocol, draw.next());
            self.batch.push(&self.socket, |room| protocol.query(serial, key, room))?;
            self.sent[slot(serial)] = Some(now);
            self.serial += 1;
            self.flying += 1;
        }
        self.batch.send(&self.socket).context("cannot send")
    }

    /// Takes what came.
    fn take(&mut self, times: &mut Histogram<u64>) -> Result<()> {
        loop {
            let received = self.batch.receive(&self.socket).context("cannot receive")?;
            self.heard = Instant::now();
            for at in 0..received {
                let Some(serial) = self.protocol.answer(self.batch.datagram(at)) else {
                    self.bad += 1;
                    continue;
                };
                if let Some(sent) = self.sent[slot(serial)].take() {
                    self.flying -= 1;
                    times.saturating_record(u64::try_from((self.heard - sent).as_nanos())?);
                }
            }
            if received < BATCH {
                return Ok(());
            }
        }
    }
}

fn slot(serial: u64) -> usize {
    usize::try_from(serial).unwrap_or(usize::MAX) % RING
}

/// More than any window, and fewer than the serials of any protocol.
const RING: usize = 4096;

/// After so long without any answer what is on its way is lost.
const LOST: Duration = Duration::from_millis(200);

const PATIENCE: Duration = Duration::from_secs(20);
