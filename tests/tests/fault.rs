//! The faults themselves, on small programs: each does what it says, and nothing more.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use klnet_tests::fault::{
    End, Mangle, Plan, Proxy, SmallDisk, kill_rounds, limit_descriptors, shift_clock, strace,
};
use klnet_tests::lab::{Lab, Process};
use klnet_tests::sim::Rng;
use klnet_tests::{Unavailable, need_programs, skip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[test]
fn limited_program_runs_out_of_descriptors() -> Result<()> {
    let mut shell = Command::new("sh");
    let output = limit_descriptors(shell.args(["-c", "ulimit -n; ulimit -n 100"]), 40).output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "40\n");
    assert!(!output.status.success(), "it cannot raise the limit");
    Ok(())
}

#[test]
fn filled_disk_refuses_and_freed_disk_takes_again() -> Result<()> {
    // A machine that may make namespaces may mount; neither works otherwise.
    let Some(_lab) = Lab::or_skip("disk") else { return Ok(()) };
    let disk = SmallDisk::mount(64)?;
    let file = disk.path().join("file");
    std::fs::write(&file, b"fits")?;
    disk.fill()?;
    let refused = std::fs::write(disk.path().join("other"), [0; 8192]).expect_err("the disk is full");
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    disk.free()?;
    std::fs::write(&file, [0; 8192])?;
    let path = disk.path().to_owned();
    drop(disk);
    assert!(!path.exists(), "nothing is left mounted");
    Ok(())
}

#[test]
fn injected_call_fails_from_the_asked_time_on() -> Result<()> {
    if !need_programs(&["strace", "sync"]) {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
    std::fs::write(&first, "")?;
    std::fs::write(&second, "")?;
    let output = strace(Command::new("sync").args([&first, &second]), "fsync:error=EIO:when=2+").output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("PTRACE") {
        skip(&Unavailable::Forbidden("ptrace".to_owned()));
        return Ok(());
    }
    assert!(errors.contains("second") && !errors.contains("first"), "{errors}");
    assert!(errors.contains("Input/output error"), "{errors}");
    Ok(())
}

#[test]
fn shifted_clock_is_days_off() -> Result<()> {
    let mut date = Command::new("date");
    if shift_clock(date.arg("+%s"), "-10d").is_err() {
        skip(&Unavailable::Missing("libfaketime".to_owned()));
        return Ok(());
    }
    let shifted: u64 = String::from_utf8(date.output()?.stdout)?.trim().parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    assert!((now - shifted).abs_diff(10 * 86_400) < 100);
    Ok(())
}

#[test]
fn killed_program_is_started_anew_every_round() -> Result<()> {
    let mut started = 0;
    let start = || {
        started += 1;
        let mut process =
            Process::spawn("victim", Command::new("sh").args(["-c", "echo up; exec sleep 1000"]))?;
        process.wait_for_line("up", Duration::from_secs(10))?;
        Ok(process)
    };
    let mut worked = Vec::new();
    kill_rounds(5, Duration::from_millis(5), &mut Rng::new(1), start, |round| {
        worked.push(round);
        Ok(())
    })?;
    assert_eq!((started, worked), (5, vec![0, 1, 2, 3, 4]));
    Ok(())
}

#[tokio::test]
async fn proxy_without_a_plan_carries_both_ways_and_half_closes() -> Result<()> {
    let proxy = Proxy::start(echo().await?, |_| Plan::default()).await?;
    assert_eq!(through(&proxy, b"hello").await?, b"hello");
    assert_eq!(proxy.recorded(0), Some([b"hello".to_vec(), b"hello".to_vec()]));
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn proxy_flips_splits_and_truncates_as_planned() -> Result<()> {
    let up = Mangle { flip: Some((1, 0x20)), segment: Some(1), ..Mangle::default() };
    let down = Mangle { end: Some((4, End::Finish)), ..Mangle::default() };
    let proxy = Proxy::start(echo().await?, move |_| Plan { up: up.clone(), down: down.clone() }).await?;
    assert_eq!(through(&proxy, b"hello").await?, b"hEll");
    Ok(())
}

#[tokio::test]
async fn proxy_resets_both_ends() -> Result<()> {
    let up = Mangle { end: Some((2, End::Reset)), ..Mangle::default() };
    let proxy = Proxy::start(echo().await?, move |_| Plan { up: up.clone(), ..Plan::default() }).await?;
    let error = through(&proxy, b"hello").await.expect_err("the connection was reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    Ok(())
}

#[tokio::test]
async fn stalled_direction_says_nothing_and_closes_nothing() -> Result<()> {
    let down = Mangle { end: Some((0, End::Stall)), ..Mangle::default() };
    let proxy = Proxy::start(echo().await?, move |_| Plan { down: down.clone(), ..Plan::default() }).await?;
    let waited = tokio::time::timeout(Duration::from_millis(200), through(&proxy, b"hello")).await;
    assert!(waited.is_err(), "neither bytes nor an end may come");
    Ok(())
}

/// A server that sends back what it gets.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    Ok(address)
}

/// Sends, half-closes, and reads to the end.
async fn through(proxy: &Proxy, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(proxy.address()).await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard)
}
