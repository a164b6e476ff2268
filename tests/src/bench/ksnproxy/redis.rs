//! Redis without any persistence; it keeps the same verdicts under the same keys.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Result, ensure};

use super::cloud::VERDICT;
use super::keys::key;
use super::pipeline::Dialect;
use super::rig::Rig;
use crate::fleet::PATIENCE;
use crate::lab::Process;

/// Starts it on the servers' core, and has it keep the verdicts of so many keys.
pub(super) fn start(rig: &Rig, keys: u32) -> Result<Process> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &PORT.to_string(), "--bind", &rig.address().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no"]);
    command.arg("--dir").arg(rig.folder());
    let process = rig.core().spawn("redis", command)?;
    rig.server.wait_for_listener(PORT, PATIENCE)?;
    rig.ask(|| fill(rig, keys))?;
    Ok(process)
}

fn fill(rig: &Rig, keys: u32) -> Result<()> {
    let mut stream = TcpStream::connect(rig.at(PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut output, mut answers) = (Vec::new(), Vec::new());
    for numbers in (0..keys).collect::<Vec<_>>().chunks(1000) {
        output.clear();
        for number in numbers {
            output.extend(b"*3\r\n$3\r\nSET\r\n$24\r\n");
            output.extend(key(*number).encode());
            output.extend(b"\r\n$16\r\n");
            output.extend(VERDICT.pack());
            output.extend(b"\r\n");
        }
        stream.write_all(&output)?;
        answers.resize(numbers.len() * KEPT.len(), 0);
        stream.read_exact(&mut answers)?;
        ensure!(answers.chunks(KEPT.len()).all(|answer| answer == KEPT), "redis refuses a key");
    }
    Ok(())
}

/// GET.
pub(super) struct Stream;

impl Dialect for Stream {
    fn ask(&mut self, number: u32, output: &mut Vec<u8>) {
        output.extend(b"*2\r\n$3\r\nGET\r\n$24\r\n");
        output.extend(key(number).encode());
        output.extend(b"\r\n");
    }

    fn length(&self) -> usize {
        FOUND.len() + 16 + 2
    }

    fn is_answer(&self, answer: &[u8]) -> bool {
        answer.strip_prefix(FOUND).is_some_and(|value| value[0] == VERDICT.reputation as u8)
    }
}

pub(super) const PORT: u16 = 6379;

const KEPT: &[u8] = b"+OK\r\n";
const FOUND: &[u8] = b"$16\r\n";
