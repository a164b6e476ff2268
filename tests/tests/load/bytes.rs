//! How a tunnel's bytes move, and that each of them comes, once, in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;

use crate::stage::echoes;

/// Sends pieces until the upgrade is over, a few more, and the end; each byte comes back once, in order.
pub(super) async fn flow(
    stream: impl AsyncRead + AsyncWrite,
    over: watch::Receiver<bool>,
    moved: &AtomicU64,
    pace: Duration,
) -> Result<()> {
    let (reader, mut writer) = split(stream);
    let sending = async {
        let (mut pieces, mut left, mut sent) = (tokio::time::interval(pace), 20, 0);
        while left > 0 {
            pieces.tick().await;
            left -= usize::from(*over.borrow());
            writer.write_all(&pattern(sent, PIECE)).await?;
            writer.flush().await?;
            sent += PIECE as u64;
        }
        writer.shutdown().await?;
        anyhow::Ok(sent)
    };
    let (sent, received) = tokio::join!(sending, in_order(reader, moved));
    ensure!(sent? == received?, "bytes are missing at the end");
    Ok(())
}

/// Fills every buffer on the way, and reads once the upgrade is over.
pub(super) async fn stall(
    stream: impl AsyncRead + AsyncWrite,
    mut over: watch::Receiver<bool>,
    moved: &AtomicU64,
) -> Result<()> {
    let (reader, mut writer) = split(stream);
    let sending = async {
        for piece in 0..STALLED / PIECE as u64 {
            writer.write_all(&pattern(piece * PIECE as u64, PIECE)).await?;
            moved.fetch_add(PIECE as u64, Ordering::SeqCst);
        }
        Ok(writer.shutdown().await?)
    };
    let reading = async {
        over.wait_for(|over| *over).await?;
        in_order(reader, &AtomicU64::new(0)).await
    };
    let (sent, received): (Result<()>, _) = tokio::join!(sending, reading);
    sent?;
    ensure!(received? == STALLED, "bytes are missing at the end");
    Ok(())
}

pub(super) async fn idle(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    echoes(&mut stream, b"before").await?;
    over.wait_for(|over| *over).await?;
    echoes(&mut stream, b"after").await?;
    stream.shutdown().await?;
    ensure!(stream.read(&mut [0; 1]).await? == 0, "it ends in order");
    Ok(())
}

pub(super) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    stream.write_all(b"question").await?;
    stream.shutdown().await?;
    ensure!(in_order(stream, &AtomicU64::new(0)).await? == ANSWER as u64, "the answer is not whole");
    Ok(())
}

/// Reads to the end, and wants the pattern from its beginning; gives its length.
async fn in_order(mut reader: impl AsyncRead + Unpin, moved: &AtomicU64) -> Result<u64> {
    let (mut bytes, mut at) = (vec![0; 64 * 1024], 0);
    loop {
        let length = reader.read(&mut bytes).await.with_context(|| format!("after {at} bytes"))?;
        if length == 0 {
            return Ok(at);
        }
        ensure!(bytes[..length] == pattern(at, length), "bytes are lost, repeated or mixed up after {at}");
        at += length as u64;
        moved.fetch_add(length as u64, Ordering::SeqCst);
    }
}

/// Bytes that are different at every place for a long way.
pub(super) fn pattern(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 8)).to_be_bytes()[7]).collect()
}

const PIECE: usize = 4096;
/// Bytes of the answer to a question.
pub(super) const ANSWER: usize = 300_000;
/// More than every buffer between two ends holds.
const STALLED: u64 = 48 * 1024 * 1024;
