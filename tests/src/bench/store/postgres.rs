//! PostgreSQL with its defaults, but room for as many connections, asked by pgbench, which comes with it.

use std::path::Path;

use anyhow::{Context, Result};

use super::effort::Effort;
use super::load::{self, VALUE, WRITERS};
use crate::bench::Samples;
use crate::fleet::service::Postgres;
use crate::lab::{Host, cpu_time, run};

/// A new database, written to for a while.
pub(super) fn sample(host: &Host, effort: &Effort) -> Result<Samples<2>> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let postgres = Postgres::start_durable(host, PORT, WRITERS + 10)?;
    let script = folder.path().join("write.sql");
    std::fs::write(&script, WRITE)?;
    client(host, "psql", &["-qc", &make()])?;
    let seconds = |time: std::time::Duration| time.as_secs().max(1).to_string();
    pgbench(host, &script, &["-T", &seconds(effort.warm_up)])?;
    client(host, "psql", &["-qc", "UPDATE kv SET rev = 0"])?;
    let (log, before) = (folder.path().join("log"), cpu_time(postgres.id())?);
    let log_prefix = format!("--log-prefix={}", log.display());
    pgbench(host, &script, &["-T", &seconds(effort.measured), "--log", &log_prefix])?;
    let cpu = cpu_time(postgres.id())?.saturating_sub(before);
    Ok(Samples { figures: figures(folder.path(), effort)?, cpu })
}

fn pgbench(host: &Host, script: &Path, arguments: &[&str]) -> Result<()> {
    let (script, clients) = (script.display().to_string(), WRITERS.to_string());
    let usual = ["-n", "-M", "prepared", "-c", &clients, "-j", "2", "-D", "rev=0", "-f", &script];
    client(host, "pgbench", &[&usual[..], arguments].concat())
}

fn client(host: &Host, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = host.command(Postgres::binary(program)?);
    command.args(["-h", "127.0.0.1", "-p", &PORT.to_string(), "-U", "klnet"]).args(arguments).arg("postgres");
    run(&mut command).map(drop)
}

/// A line of the log for each transaction: client, number, microseconds, ...
fn figures(folder: &Path, effort: &Effort) -> Result<[f64; 2]> {
    let mut answers = load::histogram()?;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if !file.file_name().to_string_lossy().starts_with("log") {
            continue;
        }
        for line in std::fs::read_to_string(file.path())?.lines() {
            let took = line.split_whitespace().nth(2).context("a line of pgbench's log")?;
            answers.saturating_record(took.parse()?);
        }
    }
    load::figures(&answers, effort.measured)
}

/// Keys as long as ours, and a row for each writer.
fn make() -> String {
    let prefix = load::key(0);
    let prefix = &prefix[..prefix.len() - 8];
    format!(
        "CREATE TABLE kv (key text PRIMARY KEY, rev bigint NOT NULL, value bytea NOT NULL);
         INSERT INTO kv SELECT '{prefix}' || lpad(n::text, 8, '0'), 0, decode(repeat('07', {VALUE}), 'hex')
         FROM generate_series(0, {WRITERS} - 1) AS n"
    )
}

const WRITE: &str = "\
UPDATE kv SET rev = rev + 1, value = decode(repeat('07', 256), 'hex')
    WHERE key = 't/00000000-0000-0000-0000-000000000000/bench/' || lpad(:client_id::text, 8, '0') AND rev = :rev;
\\set rev :rev + 1
";
const PORT: u16 = 5432;
