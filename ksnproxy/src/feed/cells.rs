//! Cells of a row as abuse.ch writes them: quoted or not, with or without a blank after the comma.

use std::borrow::Cow;

use super::error::{FeedError, Reason};
use super::intake::Intake;

/// The cells of a row. No allocation: a feed has millions.
pub(super) struct Cells<'a> {
    line: u64,
    cells: [&'a [u8]; CELLS_MOST],
    count: usize,
}

/// How many columns a format has.
pub(super) struct Columns {
    /// With fewer a row is refused.
    pub(super) least: usize,
    /// With more it has changed, which is reported.
    pub(super) known: usize,
}

impl<'a> Cells<'a> {
    /// Splits a row, and notes in `intake` when it has more columns than are known.
    pub(super) fn split(
        line: u64,
        row: &'a [u8],
        columns: &Columns,
        intake: &mut Intake,
    ) -> Result<Self, FeedError> {
        let mut cells = Self { line, cells: [&[]; CELLS_MOST], count: 0 };
        let mut rest = Some(row);
        while let Some(from) = rest {
            let (cell, after) = next(from).ok_or_else(|| Reason::Quotes.at(line))?;
            let Some(place) = cells.cells.get_mut(cells.count) else {
                return Err(Reason::Columns { found: cells.count + 1, least: columns.least }.at(line));
            };
            *place = cell;
            cells.count += 1;
            rest = after;
        }
        if cells.count < columns.least {
            return Err(Reason::Columns { found: cells.count, least: columns.least }.at(line));
        }
        if cells.count > columns.known {
            intake.drift(cells.count, line);
        }
        Ok(cells)
    }

    /// A cell, or nothing where it is empty or says so.
    pub(super) fn cell(&self, column: usize) -> Option<&'a [u8]> {
        let cell = self.cells[..self.count].get(column)?;
        (!matches!(*cell, b"" | b"n/a" | b"N/A" | b"None")).then_some(*cell)
    }

    /// A cell in which doubled quotes are single again.
    pub(super) fn text(&self, column: usize) -> Option<Cow<'a, [u8]>> {
        let cell = self.cell(column)?;
        if memchr::memmem::find(cell, b"\"\"").is_none() {
            return Some(Cow::Borrowed(cell));
        }
        let mut text = Vec::with_capacity(cell.len());
        let mut rest = cell;
        while let Some(quote) = memchr::memmem::find(rest, b"\"\"") {
            text.extend_from_slice(&rest[..=quote]);
            rest = &rest[quote + 2..];
        }
        text.extend_from_slice(rest);
        Some(Cow::Owned(text))
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }
}

/// The first cell and what follows its comma; `None` when quotes do not match.
fn next(row: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let row = row.trim_ascii_start();
    let Some(quoted) = row.strip_prefix(b"\"") else {
        return Some(match memchr::memchr(b',', row) {
            Some(comma) => (row[..comma].trim_ascii_end(), Some(&row[comma + 1..])),
            None => (row.trim_ascii_end(), None),
        });
    };
    let end = closing_quote(quoted)?;
    match quoted[end + 1..].trim_ascii_start() {
        [] => Some((&quoted[..end], None)),
        [b',', rest @ ..] => Some((&quoted[..end], Some(rest))),
        _ => None,
    }
}

fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr::memchr(b'"', &quoted[from..])?;
        if quoted.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// No format has as many columns.
const CELLS_MOST: usize = 32;
