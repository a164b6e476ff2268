//! URLhaus: URLs that distribute malware.
//!
//! `id, dateadded, url, url_status, last_online, threat, tags, urlhaus_link, reporter`, all quoted; comments begin with
//! `#`, and so does the row that names the columns.

use std::io::Read;

use super::cells::{Cells, Columns};
use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use super::stamp;
use crate::subject::Subject;
use crate::url::CanonicalUrl;
use crate::verdict::Category;

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut lines = Lines::new(input);
    while let Some((number, line)) = lines.next()? {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let cells = Cells::split(number, line, &COLUMNS, intake)?;
        row(&cells, intake)?;
    }
    Ok(())
}

fn row(cells: &Cells<'_>, intake: &mut Intake) -> Result<(), FeedError> {
    let line = cells.line();
    let id = cells.cell(0).unwrap_or_default();
    if id.is_empty() || !id.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Number(id.into()).at(line));
    }
    let added = cells.cell(1).unwrap_or_default();
    let time = stamp::parse(added).ok_or_else(|| Reason::Time(added.into()).at(line))?;
    let confidence = match cells.cell(3).unwrap_or_default() {
        b"online" => 90,
        b"offline" => 70,
        b"unknown" | b"" => 80,
        other => return Err(Reason::Word(other.into()).at(line)),
    };
    match CanonicalUrl::parse(&cells.text(2).unwrap_or_default()) {
        Ok(url) => {
            let says = Says::malicious(Category::Distribution, confidence).at(Some(time));
            intake.take(Subject::Url(url.digest()), says)
        }
        Err(error) => {
            intake.leave_out(error.left_out(), line);
            Ok(())
        }
    }
}

/// Before 2021 there was no `last_online`; nothing after it is used.
const COLUMNS: Columns = Columns { least: 8, known: 9 };
