//! What a person sees: the command on a terminal of its own, by util-linux's `script`, where the machine has it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::Bench;
use crate::world::{Echo, echoes};

#[tokio::test]
async fn an_interrupt_leaves_no_live_line_behind() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    // The shell outlives the interrupt and tells how the command left; script(1) does not always know.
    let command = format!("{} web-7:{}", env!("CARGO_BIN_EXE_klsctunnel"), echo.port);
    let line = format!("trap : INT; {command}; echo left with $?");
    let mut script = Command::new("script");
    script.args(["-qfc", &line, "/dev/null"]).env("KLNET_PROFILE", &bench.profile).env("TERM", "xterm");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let Ok(mut terminal) = script.spawn() else { return eprintln!("skipped: this machine has no script(1)") };
    let mut shown = BufReader::new(terminal.stdout.take().unwrap());
    let mut first = String::new();
    shown.read_line(&mut first).await.unwrap();
    let mut local = TcpStream::connect(first.split(' ').next().unwrap()).await.unwrap();
    echoes(&mut local, b"a connection that is still open").await;
    terminal.stdin.as_mut().unwrap().write_all(b"\x03").await.unwrap();
    let mut rest = String::new();
    shown.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains(" open, "), "there was a live line: {rest:?}");
    let last = rest.rsplit("\x1b[2K").next().unwrap();
    assert_eq!(last.trim(), "left with 0", "the line was wiped, and all went well: {rest:?}");
}
