//! Looking at all of a store without changing anything: what `klserver check` reports.

use std::path::Path;

use rusqlite::Connection;

use super::{
    OpenError,
    error::failed,
    history::History,
    leases,
    lock::Last,
    medium::Medium,
    newest, open,
    receipt::{Receipt, head},
    row::{COLUMNS, Logged},
    schema,
};
use crate::store::{Incarnation, Rev};

/// What there is, and what is wrong with it.
#[derive(Debug)]
pub struct Inspection {
    /// Which history.
    pub incarnation: Incarnation,
    /// The newest revision.
    pub head: Rev,
    /// The oldest that can be read.
    pub oldest: Rev,
    /// Rows of the log.
    pub rows: u64,
    /// Keys that have a value.
    pub keys: u64,
    /// Outcomes kept for retries.
    pub outcomes: u64,
    /// Leases that live.
    pub leases: u64,
    /// What is wrong; nothing in a sound store. The first [`FINDINGS`], and then how many more.
    pub findings: Vec<String>,
    /// Findings that are not listed.
    pub unlisted: u64,
}

/// Inspects the store at `path`, which another process may be using.
///
/// # Errors
/// [`OpenError`] when it cannot be inspected at all.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let failed = |source| failed(path, source);
    // Before the snapshot: what is acknowledged later need not be in it.
    let last = Last::of(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
    let db = open::reader(path, Medium::DISK).map_err(failed)?;
    schema::check_newest(path, &db)?;
    let snapshot = db.unchecked_transaction().map_err(failed)?;
    let history = History::read(&snapshot).map_err(failed)?;
    let mut inspection = Inspection {
        incarnation: history.incarnation,
        head: head(&snapshot).map_err(failed)?,
        oldest: history.oldest,
        rows: 0,
        keys: 0,
        outcomes: 0,
        leases: 0,
        findings: Vec::new(),
        unlisted: 0,
    };
    if inspection.head < last.head {
        inspection.find(format!("revision {} was acknowledged and is lost", last.head));
    }
    if let Err(error) = schema::check_text(path, &snapshot) {
        inspection.find(error.to_string());
    }
    inspection.look(&snapshot).map_err(failed)?;
    Ok(inspection)
}

impl Inspection {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn look(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.look_at_pages(db)?;
        self.look_at_log(db)?;
        self.look_at_newest(db)?;
        self.outcomes = self.look_at(db, "SELECT rev, op_id, digest, sum FROM receipt", Receipt::read)?;
        for lease in leases::all(db)? {
            self.leases += 1;
            lease.err().into_iter().for_each(|error| self.find(error.to_string()));
        }
        let missed: u32 = db.query_row(ATTACHED_WRONGLY, [], |row| row.get(0))?;
        if missed > 0 {
            self.find(format!("{missed} keys are listed under another lease than the log says"));
        }
        Ok(())
    }

    /// Structure of every page, and every index against its table.
    fn look_at_pages(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut pages = db.prepare("PRAGMA integrity_check(1000)")?;
        let mut pages = pages.query([])?;
        while let Some(finding) = pages.next()? {
            let finding: String = finding.get(0)?;
            if finding != "ok" {
                self.find(finding);
            }
        }
        Ok(())
    }

    fn look_at_log(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let head = self.head;
        let mut odd = Vec::new();
        self.rows = self.look_at(db, &format!("SELECT {COLUMNS} FROM log ORDER BY seq"), |row| {
            let row = Logged::read(row)?;
            if row.rev() > head || row.create_rev > row.rev() {
                odd.push(format!("row {} of log is of a revision that is not there", row.seq));
            }
            Ok(())
        })?;
        odd.into_iter().for_each(|finding| self.find(finding));
        Ok(())
    }

    /// Every key leads to a row of its own, and no row is newer than that or of another key.
    fn look_at_newest(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut live = 0;
        self.look_at(db, "SELECT key, seq, sum FROM newest ORDER BY key", |row| {
            let (key, seq) = newest::read(row)?;
            live += u64::from(newest::led_to(db, &key, seq)?.value.is_some());
            Ok(())
        })?;
        self.keys = live;
        let missed = newest::missed(db)?;
        if missed > 0 {
            self.find(format!("{missed} rows of log are not led to"));
        }
        Ok(())
    }

    /// Reads every row there is; says how many.
    fn look_at<T>(
        &mut self,
        db: &Connection,
        query: &str,
        mut read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<u64> {
        let mut count = 0;
        let mut rows = db.prepare(query)?;
        let mut rows = rows.query([])?;
        loop {
            match rows.next() {
                Ok(None) => return Ok(count),
                Ok(Some(row)) => {
                    count += 1;
                    read(row).err().into_iter().for_each(|error| self.find(error.to_string()));
                }
                // What comes after a broken page cannot be reached.
                Err(error) => {
                    self.find(error.to_string());
                    return Ok(count);
                }
            }
        }
    }

    fn find(&mut self, finding: String) {
        match self.findings.len() < FINDINGS {
            true => self.findings.push(finding),
            false => self.unlisted += 1,
        }
    }
}

/// Findings that are listed.
pub const FINDINGS: usize = 100;

const ATTACHED_WRONGLY: &str = "
    WITH leased AS (SELECT key, lease FROM newest JOIN (SELECT seq, lease FROM log) USING (seq) WHERE lease IS NOT NULL)
    SELECT (SELECT count(*) FROM (SELECT key, lease FROM leased EXCEPT SELECT key, lease FROM attached))
         + (SELECT count(*) FROM (SELECT key, lease FROM attached EXCEPT SELECT key, lease FROM leased))";
