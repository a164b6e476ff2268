//! Whoever speaks HTTP as no client does: frames by hand (RFC 9113, section 4.1), and bytes.

use std::time::Duration;

use klnet_wire::identity::tls::client_config;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stage::Stage;

/// A TLS connection to the HTTPS port.
pub(crate) struct Attacker {
    writer: WriteHalf<TlsStream<TcpStream>>,
    /// Takes whatever comes until the end, so that the proxy never waits for this side.
    reading: JoinHandle<Vec<u8>>,
}

/// The kind of a frame, and the error code when it has one.
pub(crate) type Seen = (u8, Option<u32>);

impl Attacker {
    pub(crate) async fn http2(stage: &Stage) -> Self {
        let mut attacker = Self::connect(stage, b"h2").await;
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat();
        attacker.write(&hello).await.unwrap();
        attacker
    }

    pub(crate) async fn http1(stage: &Stage) -> Self {
        Self::connect(stage, b"http/1.1").await
    }

    async fn connect(stage: &Stage, alpn: &[u8]) -> Self {
        let (identity, trust) = stage.device();
        let config = client_config(Some(&identity), trust, &[alpn]).unwrap();
        let stream = TcpStream::connect(stage.proxy().addresses().https.unwrap()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (reader, writer) = split(stream);
        Self { writer, reading: tokio::spawn(everything(reader)) }
    }

    /// Sends all of it, or as much as is taken; how many bytes that were.
    pub(crate) async fn flood(&mut self, pieces: impl IntoIterator<Item = Vec<u8>>) -> usize {
        let mut sent = 0;
        for piece in pieces {
            match timeout(STUCK, self.write(&piece)).await {
                Ok(Ok(())) => sent += piece.len(),
                // The connection is over, or nothing is read from it any more.
                _ => break,
            }
        }
        sent
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    /// The frames that came until the end.
    pub(crate) async fn end(mut self) -> Vec<Seen> {
        let _ = timeout(STUCK, self.writer.shutdown()).await;
        frames(&self.reading.await.unwrap())
    }

    /// The text that came until the end.
    pub(crate) async fn text(mut self) -> String {
        let _ = timeout(STUCK, self.writer.shutdown()).await;
        String::from_utf8_lossy(&self.reading.await.unwrap()).into_owned()
    }

    pub(crate) async fn has_ended_within(&mut self, time: Duration) -> bool {
        timeout(time, &mut self.reading).await.is_ok()
    }
}

/// A request that is whole.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request(0x82, "/v1/verdict/a.example"))
}

/// A request whose body is to come.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request(0x83, "/v1/keys"))
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as RFC 7541 packs them: method and scheme by index, path and authority as they are.
fn request(method: u8, path: &str) -> Vec<u8> {
    let literal =
        |index: u8, text: &str| [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![method, 0x87], literal(4, path), literal(1, "127.0.0.1")].concat()
}

async fn everything(mut reader: ReadHalf<TlsStream<TcpStream>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that is reset has ended as well.
    let _ = reader.read_to_end(&mut bytes).await;
    bytes
}

fn frames(mut bytes: &[u8]) -> Vec<Seen> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let code = |at: usize| payload.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        frames.push((
            header[3],
            match header[3] {
                RST_STREAM => code(0),
                GOAWAY => code(4),
                _ => None,
            },
        ));
        bytes = rest;
    }
    frames
}

/// Kinds of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Who takes nothing for so long takes nothing more.
const STUCK: Duration = Duration::from_secs(10);
