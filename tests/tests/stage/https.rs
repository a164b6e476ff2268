//! One request of an anonymous client that comes from a chosen address of the loopback.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use klnet_wire::identity::tls::{ALPN_HTTP, pinned_config};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::Stage;

/// Where one of many parallel clients comes from: limits per source are not what its test is about.
pub(crate) fn source(n: usize) -> Ipv4Addr {
    let [.., high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// `POST path` from `source`: the status, and the body as far as it is JSON.
pub(crate) async fn post_from(
    stage: &Stage,
    source: Ipv4Addr,
    path: &str,
    body: &str,
) -> Result<(u16, Value)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let server: SocketAddr = ([127, 0, 0, 1], stage.ports.https).into();
    let config = pinned_config(stage.profile.trust.pin(), &[ALPN_HTTP])?;
    let name = ServerName::from(server.ip());
    let mut stream = TlsConnector::from(config).connect(name, socket.connect(server).await?).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    // A server that closes without close_notify has said all the same what it had to say.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}
