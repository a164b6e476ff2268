//! ThreatFox: indicators of many kinds.
//!
//! `first_seen_utc, ioc_id, ioc_value, ioc_type, threat_type, fk_malware, malware_alias, malware_printable, last_seen_utc,
//! confidence_level, is_compromised, reference, tags, anonymous, reporter`; `is_compromised` came in 2024. The last comment
//! says how many entries there are, and that is checked: a file that was cut off has another number or none.

use std::io::Read;

use super::cells::{Cells, Columns};
use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use super::{shape, stamp};
use crate::subject::{Digest, Network, Subject};
use crate::url::CanonicalUrl;
use crate::verdict::{Category, Reputation};

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut lines = Lines::new(input);
    let mut rows = 0;
    while let Some((number, line)) = lines.next()? {
        if let Some(comment) = line.strip_prefix(b"#") {
            check_count(comment, rows, number)?;
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let cells = Cells::split(number, line, &COLUMNS, intake)?;
        row(&cells, intake)?;
        rows += 1;
    }
    Ok(())
}

fn row(cells: &Cells<'_>, intake: &mut Intake) -> Result<(), FeedError> {
    let line = cells.line();
    let seen = cells.cell(0).unwrap_or_default();
    let time = stamp::parse(seen).ok_or_else(|| Reason::Time(seen.into()).at(line))?;
    let level = cells.cell(9).unwrap_or_default();
    let confidence =
        std::str::from_utf8(level).ok().and_then(|level| level.parse().ok()).filter(|level| *level <= 100);
    let confidence = confidence.ok_or_else(|| Reason::Number(level.into()).at(line))?;
    // Below half the submitter does not say that it is, but that it may be.
    let reputation = if confidence < 50 { Reputation::Suspicious } else { Reputation::Malicious };
    let says = Says { reputation, category: category(cells.cell(4)), confidence, time: Some(time) };
    let value = cells.text(2).unwrap_or_default();
    let subject = match cells.cell(3).unwrap_or_default() {
        b"ip:port" => shape::without_port(&value).map(Network::address).map(Subject::Network),
        b"domain" => shape::domain(&value),
        b"url" => match CanonicalUrl::parse(&value) {
            Ok(url) => Some(Subject::Url(url.digest())),
            Err(error) => {
                intake.leave_out(error.left_out(), line);
                return Ok(());
            }
        },
        // The declared hash may be another than its length says; the length is right.
        b"md5_hash" | b"sha1_hash" | b"sha256_hash" => {
            Digest::parse(&value).ok().map(|digest| Subject::File(digest, None))
        }
        _ => {
            intake.leave_out("an indicator of a type that no query asks for", line);
            return Ok(());
        }
    };
    intake.take(subject.ok_or_else(|| Reason::Subject(value[..].into()).at(line))?, says)
}

fn category(threat: Option<&[u8]>) -> Category {
    match threat.unwrap_or_default() {
        b"botnet_cc" => Category::CommandAndControl,
        b"payload_delivery" => Category::Distribution,
        b"cc_skimming" => Category::Phishing,
        _ => Category::Malware,
    }
}

fn check_count(comment: &[u8], rows: u64, line: u64) -> Result<(), FeedError> {
    let Some(announced) = comment.trim_ascii().strip_prefix(b"Number of entries:") else { return Ok(()) };
    let announced = announced.trim_ascii();
    let number = std::str::from_utf8(announced).ok().and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| Reason::Number(announced.into()).at(line))?;
    if number == rows { Ok(()) } else { Err(Reason::Count { found: rows, announced: number }.at(line)) }
}

const COLUMNS: Columns = Columns { least: 14, known: 15 };
