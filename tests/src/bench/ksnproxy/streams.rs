//! What is known already, on TCP: K8 and K9.

use anyhow::Result;
use klnet_ksnproxy::frame::{Header, encode_query};

use super::keys::{Draw, key};
use super::ours::{self, Ours};
use super::pipeline::{Dialect, drive};
use super::rig::Rig;
use super::{Bench, codec, memcached, redis};
use crate::bench::{Better, Report, Subject, compare_each};

/// Our codec, one key in a frame.
pub(super) struct Frames(u64);

impl Frames {
    pub(super) fn dialect() -> Box<dyn Dialect> {
        Box::new(Self(0))
    }
}

impl Dialect for Frames {
    fn ask(&mut self, number: u32, output: &mut Vec<u8>) {
        self.0 += 1;
        encode_query(0, self.0, &[key(number)], output);
    }

    fn length(&self) -> usize {
        codec::ANSWER
    }

    fn is_answer(&self, answer: &[u8]) -> bool {
        codec::answered(answer).is_some() && codec::says(&answer[Header::LENGTH..])
    }
}

pub(super) fn hits(bench: &Bench) -> Result<Report> {
    let (rig, effort, keys) = (Rig::new()?, &bench.effort, bench.effort.keys);
    let ours = Ours::start_warm(&rig, keys)?;
    let to = (rig.at(ours::TCP), ours.process.id());
    let draw = || Draw::any(keys);
    let peer = memcached::start(&rig, 256)?;
    rig.ask(|| memcached::fill(&rig, keys))?;
    let to_peer = (rig.at(memcached::PORT), peer.id());
    let mut rows = compare_each(
        &bench.options,
        [
            answers("TCP hits, 64 connections, one query each: answers (aim >= 1.15)"),
            cost("TCP hits, 64 connections, one query each: server CPU for each"),
        ],
        ("ksnproxy, plain", || drive::<64>(&rig, to, &Frames::dialect, 1, &mut draw(), effort)),
        ("memcached", || drive::<64>(&rig, to_peer, &|| Box::new(memcached::Stream), 1, &mut draw(), effort)),
    )?;
    drop(peer);
    let peer = redis::start(&rig, keys)?;
    let to_peer = (rig.at(redis::PORT), peer.id());
    rows.extend(compare_each(
        &bench.options,
        [
            answers("TCP hits, 16 connections, 32 queries each: answers (aim >= 1.5)"),
            cost("TCP hits, 16 connections, 32 queries each: server CPU for each"),
        ],
        ("ksnproxy, plain", || drive::<16>(&rig, to, &Frames::dialect, 32, &mut draw(), effort)),
        ("Redis", || drive::<16>(&rig, to_peer, &|| Box::new(redis::Stream), 32, &mut draw(), effort)),
    )?);
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

const fn answers(what: &str) -> Subject<'_> {
    Subject { what, unit: "answers/s", better: Better::Higher }
}

const fn cost(what: &str) -> Subject<'_> {
    Subject { what, unit: "ns", better: Better::Lower }
}

const NOTE: &str = "\
TCP: one generator for everybody, which asks again on a connection when all of its queries are answered; one key in a frame of \
ours and in a command of the peer.";
