//! Frames through an in-memory pipe, against a yamux stream through the same.

use std::future::poll_fn;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use klnet_wire::frame::{Frame, HEADER_LEN};
use klnet_wire::message::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

use super::{rate, unit};
use crate::bench::{Better, Options, Row, Sample, Subject, compare};

pub(super) fn row(options: &Options, len: usize, name: &str) -> Result<Row> {
    let what = format!("through a pipe, {name}");
    let subject = Subject { what: &what, unit: unit(len), better: Better::Higher };
    compare(options, subject, ("klnet-wire", || measure(len, ours)), ("yamux", || measure(len, yamux)))
}

fn measure<F>(len: usize, carry: fn(usize, usize) -> F) -> Result<Sample>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let frames = BYTES / (len + FRAME_COST);
    Sample::of_this_process(|elapsed| {
        runtime.block_on(carry(len, frames))?;
        rate(frames, len, elapsed().as_secs_f64())
    })
}

async fn ours(len: usize, frames: usize) -> Result<()> {
    let (mut near, mut far) = duplex(PIPE);
    let sender = tokio::spawn(async move {
        let frame =
            Frame { kind: Kind::Grant as u8, flags: 0, stream: 0, payload: Bytes::from(vec![7; len]) };
        let mut output = BytesMut::with_capacity(HEADER_LEN + len);
        for _ in 0..frames {
            output.clear();
            frame.encode(&mut output)?;
            near.write_all(&output).await?;
        }
        anyhow::Ok(near)
    });
    let (mut input, mut taken) = (BytesMut::with_capacity(2 * PIPE), 0);
    while taken < frames {
        input.reserve(PIPE);
        far.read_buf(&mut input).await?;
        while let Some(frame) = Frame::decode(&mut input)? {
            anyhow::ensure!(frame.payload.len() == len, "a payload of {} bytes", frame.payload.len());
            taken += 1;
        }
    }
    sender.await??;
    Ok(())
}

async fn yamux(len: usize, frames: usize) -> Result<()> {
    let (near, far) = duplex(PIPE);
    let sender = tokio::spawn(async move {
        let mut connection = Connection::new(near.compat(), Config::default(), Mode::Client);
        let stream = poll_fn(|cx| connection.poll_new_outbound(cx)).await?;
        let driver = tokio::spawn(drive(connection));
        let (mut stream, payload) = (stream.compat(), vec![7; len]);
        for _ in 0..frames {
            stream.write_all(&payload).await?;
        }
        stream.shutdown().await?;
        anyhow::Ok(driver)
    });
    let mut connection = Connection::new(far.compat(), Config::default(), Mode::Server);
    let stream = poll_fn(|cx| connection.poll_next_inbound(cx)).await.context("no stream came")??;
    let driver = tokio::spawn(drive(connection));
    let (mut stream, mut payload) = (stream.compat(), vec![0; len]);
    for _ in 0..frames {
        stream.read_exact(&mut payload).await?;
    }
    sender.await??.abort();
    driver.abort();
    Ok(())
}

/// Moves a connection's bytes until its end.
async fn drive(mut connection: Connection<tokio_util::compat::Compat<DuplexStream>>) {
    while let Some(Ok(_)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {}
}

/// Bytes a pipe holds: as a socket's buffer.
const PIPE: usize = 64 * 1024;
/// A few tenths of a second of work: see the other rows.
const BYTES: usize = 800_000_000;
const FRAME_COST: usize = 2000;
