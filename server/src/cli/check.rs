//! `klserver check`: everything in the store looked at, nothing changed.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Configured;
use crate::harmless::harmless;
use crate::service::store_path;
use crate::store::OpenError;
use crate::store::sqlite::{Inspection, inspect};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Check {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    sound: bool,
    incarnation: String,
    revision: u64,
    oldest_revision: u64,
    rows: u64,
    keys: u64,
    outcomes: u64,
    leases: u64,
    findings: Vec<String>,
    unlisted_findings: u64,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.configured.clone().read()?;
        let inspection = match inspect(&store_path(&config.state)) {
            Ok(inspection) => inspection,
            // So damaged that nothing else can be told.
            Err(error @ OpenError::Damaged { .. }) => return self.tell_of(&error),
            Err(error) => return Err(error.into()),
        };
        let sound = inspection.is_sound();
        match self.json {
            true => println!("{}", serde_json::to_string(&Report::from(inspection))?),
            false => print(&inspection),
        }
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
    }

    fn tell_of(&self, damage: &OpenError) -> anyhow::Result<ExitCode> {
        let report = Report { findings: vec![damage.to_string()], ..Report::default() };
        match self.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => println!("DAMAGED    {}\n{VERDICT}", harmless(&report.findings[0])),
        }
        Ok(ExitCode::from(DAMAGED))
    }
}

fn print(inspection: &Inspection) {
    let Inspection { incarnation, head, oldest, rows, keys, outcomes, leases, findings, unlisted } =
        inspection;
    println!("history    {incarnation}, revisions {oldest} to {head}");
    println!("contents   {keys} keys in {rows} rows, {outcomes} outcomes, {leases} leases");
    findings.iter().for_each(|finding| println!("DAMAGED    {}", harmless(finding)));
    if *unlisted > 0 {
        println!("DAMAGED    and {unlisted} findings more");
    }
    println!("{}", if findings.is_empty() { "sound" } else { VERDICT });
}

impl From<Inspection> for Report {
    fn from(inspection: Inspection) -> Self {
        Self {
            sound: inspection.is_sound(),
            incarnation: inspection.incarnation.to_string(),
            revision: inspection.head.0,
            oldest_revision: inspection.oldest.0,
            rows: inspection.rows,
            keys: inspection.keys,
            outcomes: inspection.outcomes,
            leases: inspection.leases,
            findings: inspection.findings,
            unlisted_findings: inspection.unlisted,
        }
    }
}

const DAMAGED: u8 = 3;

const VERDICT: &str = "damaged: restore a backup";

const HELP: &str = "\
Works beside a running server, too. Every row is read with its checksum, every index compared with its table, and the
newest revision with the newest that was acknowledged.

Exit codes: 0 sound, 1 cannot be checked, 3 damaged.";
