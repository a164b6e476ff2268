//! The most bytes that are sent for each byte that came: K23.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use klnet_ksnproxy::cache::Cache;
use klnet_ksnproxy::clock::Moment;
use klnet_ksnproxy::cookie::Cookies;
use klnet_ksnproxy::counters::Counters;
use klnet_ksnproxy::frame::{DATAGRAM_LIMIT, encode_query};
use klnet_ksnproxy::limiter::{Limiter, Rate};
use klnet_ksnproxy::policy::Policy;
use klnet_ksnproxy::responder::{Channel, Responder, Response, Shared};
use klnet_ksnproxy::ticket::{Sealer, Ticket, Tickets};
use zeroize::Zeroizing;

use super::Bench;
use super::keys::key;
use crate::bench::{Better, Report, Samples, Subject, measure_each};
use crate::sim::Rng;
use crate::system;

/// Who answers, and what somebody needs to be answered.
struct Stage {
    responder: Responder,
    now: Moment,
    source: SocketAddr,
    cookie: u64,
    ticket: Ticket,
    sealer: Sealer,
}

pub(super) fn ratio(bench: &Bench) -> Result<Report> {
    let packets = bench.effort.packets;
    let what =
        format!("{packets} packets, valid, changed and noise: most bytes sent for each that came (aim <= 1)");
    let answered = format!("{packets} packets, valid, changed and noise: those with an answer");
    let subjects = [
        Subject { what: &what, unit: "bytes", better: Better::Lower },
        Subject { what: &answered, unit: "%", better: Better::Higher },
    ];
    let run = || -> Result<Samples<2>> {
        let (mut stage, mut rng, cpu) = (Stage::new()?, Rng::new(23), system::own_cpu_time()?);
        let (mut most, mut answers) = (0.0_f64, 0_u32);
        for serial in 1..=packets {
            let mut frame = stage.packet(&mut rng, serial.into());
            let asked = frame.len();
            if let Some(sent) = stage.answer(&mut frame) {
                ensure!(sent <= asked, "{sent} bytes for {asked}");
                most = most.max(f64::from(u16::try_from(sent)?) / f64::from(u16::try_from(asked)?));
                answers += 1;
            }
        }
        let part = 100.0 * f64::from(answers) / f64::from(packets);
        let cpu = system::own_cpu_time()?.saturating_sub(cpu);
        Ok(Samples { figures: [most, part], cpu })
    };
    let rows = measure_each(&bench.options, subjects, ("ksnproxy's responder", run))?;
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

impl Stage {
    fn new() -> Result<Self> {
        let unix = u32::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())?;
        let now = Moment { instant: Instant::now(), unix };
        let (source, cookies) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), Cookies::new([5; 16]));
        let (cookie, tickets) = (cookies.make(source, unix), Tickets::new(1, 3600));
        let ticket = tickets.issue([9; 16], &[9], &Zeroizing::new([3; 24]), unix)?;
        let shared = Shared {
            cache: Cache::new(1 << 20, [7; 16]),
            policy: Policy::default(),
            tickets,
            cookies,
            limiter: Limiter::new(Rate { keys: 0, burst: 0 }, [1; 16], now.instant),
            allow_plain: true,
            snapshot: Default::default(),
            alone: true,
            rest: 0.into(),
        };
        let responder = Responder::new(Arc::new(shared), Arc::<Counters>::default());
        let sealer = Sealer::new(&ticket.key);
        Ok(Self { responder, now, source, cookie, ticket, sealer })
    }

    /// Anything between noise and a good query.
    fn packet(&self, rng: &mut Rng, serial: u64) -> Vec<u8> {
        let keys = vec![key(1); rng.within(1..10)];
        let mut frame = Vec::with_capacity(DATAGRAM_LIMIT);
        match rng.below(4) {
            0 => encode_query(self.cookie, serial, &keys, &mut frame),
            1 => encode_query(rng.bits(), serial, &keys, &mut frame),
            2 => {
                encode_query(self.ticket.number, serial, &keys, &mut frame);
                self.sealer.seal_query(&mut frame);
            }
            _ => {
                frame.resize(rng.within(0..300), 0);
                rng.fill(&mut frame);
            }
        }
        for _ in 0..rng.below(3) {
            let at = rng.within(0..frame.len());
            if let Some(byte) = frame.get_mut(at) {
                *byte = rng.bits().to_le_bytes()[0];
            }
        }
        frame
    }

    /// Bytes of the answer, which is whole also when some verdicts come later.
    fn answer(&mut self, frame: &mut [u8]) -> Option<usize> {
        // What is longer than any query never reaches the responder.
        if frame.len() > DATAGRAM_LIMIT {
            return None;
        }
        let mut room = [0; 512];
        match self.responder.respond(self.now, Channel::Datagram(self.source), frame, &mut room) {
            Response::Answer(length) => Some(length),
            Response::Waiting(waiting) => Some(waiting.finish(&mut room)),
            Response::Silence | Response::Close => None,
        }
    }
}

const NOTE: &str = "\
Amplification: in one process, where each packet and its answer are known to belong together; a third of the packets or so have one \
or two bytes changed.";
