//! A proxy's HTTPS under attack: the attacker's connection ends, memory stays bounded, and others are answered.
//!
//! In a test process of its own, whose memory is looked at.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod attacker;
#[path = "../loopback/stage.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod stage;

use std::time::Duration;

use attacker::{Attacker, CONTINUATION, DATA, GOAWAY, HEADERS, RST_STREAM};
use klnet_ksnproxy::limiter::Rate;
use stage::Stage;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let stage = Stage::start(|config| config).await;
    let mut attacker = Attacker::http2(&stage).await;
    let pair =
        |n: u32| [attacker::get(stream(n)), attacker::frame(RST_STREAM, 0, stream(n), &CANCEL)].concat();
    let sent = attacker
        .flood((0..REQUESTS / 1000).map(|round| (round * 1000..(round + 1) * 1000).flat_map(pair).collect()))
        .await;
    let end = attacker.end().await;
    assert_eq!(end.last(), Some(&(GOAWAY, Some(ENHANCE_YOUR_CALM))), "{sent} bytes were sent: {end:?}");
    assert_healthy(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_are_allowed_are_refused() {
    let stage = Stage::start(|config| config).await;
    let mut attacker = Attacker::http2(&stage).await;
    let open = (0..1000).map(|n| attacker::post(stream(n))).collect::<Vec<_>>().concat();
    attacker.flood([open]).await;
    let end = attacker.end().await;
    let refused = end.iter().filter(|frame| **frame == (RST_STREAM, Some(REFUSED_STREAM))).count();
    assert!(refused > 0 && end.last() == Some(&(GOAWAY, Some(ENHANCE_YOUR_CALM))), "{refused}: {end:?}");
    assert_healthy(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_the_connection() {
    let stage = Stage::start(|config| config).await;
    let before = memory();
    let mut attacker = Attacker::http2(&stage).await;
    let begin = attacker::frame(HEADERS, 0, 1, &[0x82]);
    // A literal without indexing, whose value is said to be long and never ends.
    let piece = attacker::frame(CONTINUATION, 0, 1, &[0; 16 << 10]);
    let sent = attacker.flood([begin].into_iter().chain(std::iter::repeat_n(piece, ROUNDS))).await;
    attacker.end().await;
    assert!(sent < FLOOD, "all {sent} bytes were taken");

    let mut attacker = Attacker::http1(&stage).await;
    let line = format!("a: {}\r\n", "b".repeat(16 << 10)).into_bytes();
    let begin = b"GET /v1/verdict/a HTTP/1.1\r\n".to_vec();
    let sent = attacker.flood([begin].into_iter().chain(std::iter::repeat_n(line, ROUNDS))).await;
    let said = attacker.text().await;
    assert!(sent < FLOOD && (said.is_empty() || said.contains(" 431 ")), "{sent} bytes: {said}");
    assert_bounded(before);
    assert_healthy(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_refused() {
    let stage = Stage::start(|config| config).await;
    let before = memory();
    for length in ["content-length: 99999999999", "transfer-encoding: chunked"] {
        let mut attacker = Attacker::http1(&stage).await;
        let begin = format!("POST /v1/keys HTTP/1.1\r\nhost: a\r\n{length}\r\n\r\n").into_bytes();
        let mut piece = vec![b' '; 16 << 10];
        if length.ends_with("chunked") {
            piece = [b"4000\r\n".as_slice(), &piece, b"\r\n"].concat();
        }
        let sent = attacker.flood([begin].into_iter().chain(std::iter::repeat_n(piece, ROUNDS))).await;
        let said = attacker.text().await;
        assert!(sent < FLOOD && (said.is_empty() || said.contains(" 413 ")), "{sent} bytes: {said}");
    }
    // Each stream may send a little, all together no more than their connection.
    let mut attacker = Attacker::http2(&stage).await;
    let bodies = (0..200).flat_map(|n| {
        let data = attacker::frame(DATA, 0, stream(n), &[b' '; 16 << 10]);
        [attacker::post(stream(n)), data.repeat(4)]
    });
    attacker.flood(bodies).await;
    attacker.end().await;
    assert_bounded(before);
    assert_healthy(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_trickle_are_waited_for_in_vain_and_not_for_long() {
    let stage = Stage::start(|config| config).await;
    let mut attacker = Attacker::http1(&stage).await;
    let mut letters = b"GET /v1/verdict/a HTTP/1.1\r\na: ".iter().copied().chain(std::iter::repeat(b'b'));
    // A letter whenever nothing came for a moment; a test that waits for ever is ended by who runs it.
    while !attacker.has_ended_within(Duration::from_millis(100)).await {
        if attacker.write(&[letters.next().unwrap()]).await.is_err() {
            break;
        }
    }
    assert_healthy(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_that_hoards_connections_leaves_room_for_others() {
    let stage = Stage::start(|mut config| {
        config.connections = 256;
        config.rate = Rate { keys: 0, burst: 0 };
        config
    })
    .await;
    let addresses = stage.proxy().addresses();
    for (address, seats) in [(addresses.tcp, 64), (addresses.https.unwrap(), 256)] {
        let mut hoard = Vec::new();
        for _ in 0..seats + 40 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            // One byte of a frame or of a record, and nothing more.
            let _ = stream.write_all(if address == addresses.tcp { b"K" } else { &[22] }).await;
            hoard.push(stream);
        }
        let mut turned_away = 0;
        while turned_away < 40 {
            turned_away = 0;
            for stream in &hoard {
                turned_away += usize::from(is_closed(stream));
            }
            tokio::task::yield_now().await;
        }
        assert_healthy(&stage).await;
    }
}

/// Whether the peer has closed it.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 16]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Another device is answered by every way.
async fn assert_healthy(stage: &Stage) {
    let json: serde_json::Value =
        stage.https().get(&format!("/v1/verdict/{}", stage::hash(1))).await.unwrap();
    assert_eq!(json["reputation"], "malicious");
    let verdicts = stage.secure().await.query(&[stage::key(1)]).await.unwrap();
    assert_eq!(verdicts.len(), 1);
}

fn assert_bounded(before: usize) {
    let grown = memory().saturating_sub(before);
    assert!(grown < GROWTH, "{} MiB more than before", grown >> 20);
}

/// Bytes of memory that this process has.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// Requests that are taken back.
const REQUESTS: u32 = 100_000;

/// Pieces of 16 KiB of what never ends.
const ROUNDS: usize = 8192;

/// Bytes that nobody takes all of: the kernel has room for some of them.
const FLOOD: usize = ROUNDS << 14;

/// Far less than what is sent, more than all tests of this process need together.
const GROWTH: usize = 48 << 20;

/// Error codes of HTTP/2 (RFC 9113, section 7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
