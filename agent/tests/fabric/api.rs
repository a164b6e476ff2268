//! A small HTTPS server: the test's closure answers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_wire::identity::Role;
use klnet_wire::identity::enroll::encode_signed;
use klnet_wire::identity::tls::{ALPN_HTTP, Clients, Identity, Shown, server_config};
use klnet_wire::signed::Signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Fabric, unix};

/// Status and body, for a path and a body.
pub type Answer = Box<dyn Fn(&str, &[u8]) -> (u16, String) + Send + Sync>;

pub struct Api {
    pub port: u16,
    task: JoinHandle<()>,
}

impl Api {
    pub async fn start(fabric: &Fabric, answer: Answer) -> Self {
        Self::start_as(fabric, &fabric.identity(Role::Server), Duration::ZERO, answer).await
    }

    /// A server whose clock is `ahead` of this machine's.
    pub async fn start_as(fabric: &Fabric, identity: &Identity, ahead: Duration, answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let clients = Clients::Optional(&[Role::Agent, Role::Operator]);
        let tls = server_config(&Shown::new(identity), fabric.trust(), None, clients, &[ALPN_HTTP]).unwrap();
        let (acceptor, answer) = (TlsAcceptor::from(tls), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = serve(stream, ahead, &answer).await;
                    }
                });
            }
        });
        Self { port, task }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The discovery service's answer.
pub fn discovery(keys: &Signed, servers: &Signed) -> String {
    serde_json::json!({ "keys": encode_signed(keys), "servers": encode_signed(servers) }).to_string()
}

/// A refusal in the server's own words.
pub fn refusal(words: &str) -> String {
    serde_json::json!({ "error": words }).to_string()
}

async fn serve(mut stream: TlsStream<TcpStream>, ahead: Duration, answer: &Answer) -> std::io::Result<()> {
    let mut input = Vec::new();
    let end = loop {
        if let Some(end) = input.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while input.len() < end + length {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = answer(path, &input[end..]);
    let date = http_date(unix(SystemTime::now() + ahead));
    let head = format!("HTTP/1.1 {status} Test\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    stream.shutdown().await
}

/// IMF-fixdate (RFC 9110, 5.6.7); the day of the week is nobody's business.
fn http_date(unix: u64) -> String {
    let (mut days, time) = (unix / 86_400, unix % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("Mon, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", days + 1, names[month])
}
