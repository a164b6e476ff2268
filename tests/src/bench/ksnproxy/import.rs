//! Lists of others, from the file until they can be asked: K17 to K19.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_ksnproxy::subject::Digest;

use super::Bench;
use super::keys::digest;
use crate::bench::{Better, Report, Samples, Subject, compare_each};
use crate::sim::Rng;
use crate::{program, system};

/// K17.
pub(super) fn clamav(bench: &Bench) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let (list, empty) = (folder.path().join("list.hsb"), folder.path().join("empty"));
    let mut output = BufWriter::new(File::create(&list)?);
    for number in 0..bench.effort.lines {
        writeln!(output, "{}:{}:Test.Sample-{number}", digest(number), 1000 + number)?;
    }
    output.into_inner().context("the list is written")?.sync_all()?;
    File::create(&empty)?;
    let what = format!("import of {} lines of .hsb", bench.effort.lines);
    let whats = [format!("{what}: time (aim <= 0.55)"), format!("{what}: memory (aim <= 0.4)")];
    let subjects = [
        Subject { what: &whats[0], unit: "s", better: Better::Lower },
        Subject { what: &whats[1], unit: "MiB", better: Better::Lower },
    ];
    let ours = || import(folder.path(), "clamav", &list);
    let peer = || {
        let mut command = Command::new("clamscan");
        run(command.arg("--no-summary").arg("--database").arg(&list).arg(&empty))
    };
    let rows = compare_each(&bench.options, subjects, ("ksnserver", ours), ("clamscan", peer))?;
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

/// K18.
pub(super) fn malwarebazaar(bench: &Bench) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let list = folder.path().join("full.csv");
    let mut output = BufWriter::new(File::create(&list)?);
    let mut rng = Rng::new(18);
    (0..bench.effort.lines).try_for_each(|number| write_row(&mut output, number, &mut rng))?;
    output.into_inner().context("the list is written")?.sync_all()?;
    let what = format!("import of {} rows of MalwareBazaar", bench.effort.lines);
    let whats = [format!("{what}: time (aim <= 0.25)"), format!("{what}: memory")];
    let subjects = [
        Subject { what: &whats[0], unit: "s", better: Better::Lower },
        Subject { what: &whats[1], unit: "MiB", better: Better::Lower },
    ];
    let ours = || import(folder.path(), "malwarebazaar", &list);
    let peer = || sqlite(folder.path(), &list);
    let rows =
        compare_each(&bench.options, subjects, ("ksnserver, 3 hashes", ours), ("sqlite3, 1 index", peer))?;
    Ok(Report { rows, notes: Vec::new() })
}

/// K19.
pub(super) fn nsrl(bench: &Bench) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let (list, database) = (folder.path().join("file.csv"), folder.path().join("RDS_minimal.db"));
    let mut output = BufWriter::new(File::create(&list)?);
    let mut rng = Rng::new(19);
    for number in 0..bench.effort.lines {
        // In capital letters, as it is published.
        let hashes = format!("{},{},{}", digest(number), sha1(&mut rng), md5(&mut rng)).to_uppercase();
        writeln!(output, "{hashes},{number:08X},file-{number}.dll,{number},{}", number % 1000)?;
    }
    output.into_inner().context("the list is written")?.sync_all()?;
    let mut command = Command::new("sqlite3");
    command.arg(&database).args([MINIMAL, ".mode csv", &format!(".import {} FILE", list.display())]);
    run(&mut command).context("a database as it is published")?;
    let what = format!("import of {} rows of NSRL RDSv3", bench.effort.lines);
    let whats = [format!("{what}: time (aim <= 1.5)"), format!("{what}: memory")];
    let subjects = [
        Subject { what: &whats[0], unit: "s", better: Better::Lower },
        Subject { what: &whats[1], unit: "MiB", better: Better::Lower },
    ];
    let ours = || import(folder.path(), "nsrl", &database);
    let peer = || {
        let mut command = Command::new("sqlite3");
        run(command.arg("-readonly").arg(&database).arg("select sha256, sha1, md5 from FILE"))
    };
    let rows = compare_each(&bench.options, subjects, ("ksnserver", ours), ("sqlite3, a dump", peer))?;
    Ok(Report { rows, notes: Vec::new() })
}

/// A row as the publisher writes them: 14 cells, three of them hashes.
fn write_row(output: &mut impl Write, number: u32, rng: &mut Rng) -> Result<()> {
    let (sha256, sha1, md5) = (digest(number), sha1(rng), md5(rng));
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    writeln!(
        output,
        "\"2025-06-01 {hour:02}:{minute:02}:{second:02}\",\"{sha256}\",\"{md5}\",\"{sha1}\",\"reporter\",\
         \"sample-{number}.exe\",\"exe\",\"application/x-dosexec\",\"Family\",\"n/a\",\"n/a\",\"n/a\",\"n/a\",\"n/a\""
    )?;
    Ok(())
}

fn sha1(rng: &mut Rng) -> Digest {
    let mut hash = [0; 20];
    rng.fill(&mut hash);
    Digest::Sha1(hash)
}

fn md5(rng: &mut Rng) -> Digest {
    let mut hash = [0; 16];
    rng.fill(&mut hash);
    Digest::Md5(hash)
}

/// Into a new store.
fn import(folder: &Path, format: &str, list: &Path) -> Result<Samples<2>> {
    let store = folder.join("store");
    let mut command = Command::new(program("ksnserver")?);
    let sample = run(command.arg("--store").arg(&store).args(["import", format]).arg(list))?;
    std::fs::remove_dir_all(&store)?;
    Ok(sample)
}

/// Into a new database, with an index of the SHA-256.
fn sqlite(folder: &Path, list: &Path) -> Result<Samples<2>> {
    let database = folder.join("peer.db");
    let columns = "first_seen, sha256, md5, sha1, reporter, name, type, mime, signature, clamav, vt, imphash, ssdeep, tlsh";
    let mut command = Command::new("sqlite3");
    command.arg(&database).arg(format!("create table samples({columns})")).arg(".mode csv");
    command
        .arg(format!(".import {} samples", list.display()))
        .arg("create index by_sha256 on samples(sha256)");
    let sample = run(&mut command)?;
    std::fs::remove_file(&database)?;
    Ok(sample)
}

/// Runs a program to its end: seconds, and the most memory it had, in MiB.
fn run(command: &mut Command) -> Result<Samples<2>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (cpu, begun) = (system::children_cpu_time()?, Instant::now());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut most = 0;
    let status = loop {
        // Once it has ended nobody knows any more; while it runs the most it had only grows.
        most = peak(child.id()).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let took = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?}: {status}");
    let cpu = system::children_cpu_time()?.saturating_sub(cpu);
    Ok(Samples { figures: [took, f64::from(most) / 1024.0], cpu })
}

/// The most memory a process has had, in KiB.
fn peak(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The table of the minimal set.
const MINIMAL: &str = "create table FILE(sha256 VARCHAR, sha1 VARCHAR, md5 VARCHAR, crc32 VARCHAR, file_name VARCHAR, \
    file_size INTEGER, package_id INTEGER, \
    constraint PK_FILE__FILE primary key (sha256, sha1, md5, file_name, file_size, package_id))";

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(2);

const NOTE: &str = "\
Import: the whole program, from its start until what was read can be asked (ours is then sorted, signed, and synced to the disk); \
clamscan loads the list to scan one empty file, and sqlite3 writes the hashes of NSRL's database to nowhere. Memory is VmHWM, looked at every 2 ms.";
