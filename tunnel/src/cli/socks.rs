//! `klsctunnel --socks`: a local SOCKS5 port that leads to whatever the device reaches.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::net::https::ApiError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::Options;
use super::carry::carry;
use super::destinations::Destinations;
use super::failure::Failure;
use super::keeping::Keeping;
use super::local::LocalPort;
use super::operator::Operator;
use super::owner::Admission;
use super::status::Status;
use super::target::{PortTarget, TargetError};
use crate::grant::Host;
use crate::net::initiator::ConnectError;
use crate::net::ready;
use crate::socks::{Destination, INPUT_LIMIT, Negotiation, Output, Reply};
use crate::stream::Refusal;

/// Opens the port and serves it until the user ends it.
pub(super) async fn main(device: &str, local: Option<u16>, options: &Options) -> Result<ExitCode, Failure> {
    let device = device_of(device)?;
    let status = Status::new(format!("{device} (SOCKS5)"), options);
    let ready = ready::Config { streams: options.keep.ready.map_or(READY, usize::from), warm: WARM };
    let keeping = Keeping { ready, ..options.keep.into() };
    let destinations = Destinations::new(Operator::load(options)?, device, keeping);
    let port = LocalPort::open(local).await?;
    status.listening(&port.addresses(), None);
    let shared = Arc::new(Shared { destinations, status });
    let serving = shared.clone().serve(port, Admission::of(options.show));
    let ended = tokio::select! {
        ended = tokio::signal::ctrl_c() => ended,
        () = serving => unreachable!("a port is served for ever"),
    };
    shared.status.clear();
    shared.close().await;
    ended.map(|()| ExitCode::SUCCESS).map_err(Failure::Runtime)
}

/// The name or id of a device, and nothing else.
fn device_of(text: &str) -> Result<String, Failure> {
    match text.parse()? {
        PortTarget { user: None, device, host: Host::Device, port: None } => Ok(device),
        _ => Err(Failure::Target(TargetError::NotADevice)),
    }
}

struct Shared {
    destinations: Destinations,
    status: Status,
}

impl Shared {
    async fn serve(self: Arc<Self>, port: LocalPort, admission: Admission) {
        let ticking = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                self.status.refresh();
            }
        };
        let connection = |stream| {
            let shared = self.clone();
            async move { shared.connection(stream).await }
        };
        tokio::join!(port.serve(admission, &self.status, connection), ticking);
    }

    async fn connection(&self, mut stream: TcpStream) {
        match negotiate(&mut stream).await {
            Ok(Some(destination)) => self.connect(stream, destination).await,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "a SOCKS client left"),
        }
    }

    async fn connect(&self, mut stream: TcpStream, destination: Destination) {
        let target = self.destinations.target(destination);
        let what = format!("no connection to {target}");
        let connected = async {
            let access = self.destinations.access(target)?;
            Ok((access.wait(&self.status).await?, access))
        };
        match connected.await {
            Ok((connection, access)) => {
                if stream.write_all(&Reply::Succeeded.encode()).await.is_ok() {
                    carry(stream, connection, &access, &self.status).await;
                }
            }
            Err(failure) => {
                self.status.failed(&what, &failure);
                refuse(&mut stream, &reply(&failure).encode()).await;
            }
        }
    }

    async fn close(&self) {
        for access in self.destinations.all() {
            access.close().await;
        }
    }
}

/// Hears where a client wants to go; `None` when it was refused. Takes no byte that follows its request.
async fn negotiate(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Option<Destination>> {
    let negotiated = timeout(NEGOTIATION_TIMEOUT, hear(stream)).await;
    negotiated.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn hear(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Option<Destination>> {
    let mut negotiation = Negotiation::new();
    let mut bytes = [0; INPUT_LIMIT];
    loop {
        let piece = &mut bytes[..negotiation.needs()];
        stream.read_exact(piece).await?;
        negotiation.handle_input(piece);
        match negotiation.poll_output() {
            None => {}
            Some(Output::Send(reply)) => stream.write_all(&reply).await?,
            Some(Output::Connect(destination)) => return Ok(Some(destination)),
            Some(Output::Refuse(reply)) => {
                refuse(stream, &reply).await;
                return Ok(None);
            }
            Some(Output::Close) => return Ok(None),
        }
    }
}

/// Says no, and gives the client the time to read it: what it still sends would turn the close into a reset.
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: &[u8]) {
    let refusing = async {
        stream.write_all(reply).await?;
        stream.shutdown().await?;
        stream.read_exact(&mut [0; INPUT_LIMIT]).await
    };
    // It is over either way.
    let _ = timeout(REFUSAL_TIMEOUT, refusing).await;
}

/// What a failure is called in RFC 1928.
fn reply(failure: &Failure) -> Reply {
    match failure {
        Failure::Api(ApiError::Refused { status, .. }) => match status {
            400..=403 => Reply::NotAllowed,
            404 => Reply::HostUnreachable,
            503 => Reply::NetworkUnreachable,
            _ => Reply::Failure,
        },
        Failure::Connect(ConnectError::Refused { reason, .. }) => match reason {
            Refusal::Forbidden => Reply::NotAllowed,
            Refusal::Unresolved => Reply::HostUnreachable,
            Refusal::Unreachable => Reply::Refused,
            Refusal::TimedOut => Reply::Expired,
            _ => Reply::Failure,
        },
        Failure::Api(_) | Failure::Connect(_) => Reply::NetworkUnreachable,
        Failure::Late(_) => Reply::Expired,
        _ => Reply::Failure,
    }
}

/// How long a client may take to say where it wants to go.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused client may take to close.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections kept ready for each destination: a page has many, and most are asked once.
const READY: usize = 1;
/// For how long after the last use.
const WARM: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_a_device_is_a_device() {
        assert_eq!(device_of("web-7").unwrap(), "web-7");
        for text in ["web-7:22", "web-7:db.lan:22", "anna@web-7", "", "-x"] {
            assert!(matches!(device_of(text), Err(Failure::Target(_))), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_given_up() {
        for said in [&[][..], &[5], &[5, 1, 0], &[5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 0]] {
            let (mut near, mut far) = tokio::io::duplex(1024);
            far.write_all(said).await.unwrap();
            let begun = Instant::now();
            assert_eq!(negotiate(&mut near).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed(), NEGOTIATION_TIMEOUT);
        }
    }

    #[tokio::test]
    async fn what_a_client_sends_ahead_is_left_for_the_target() {
        let request = [&[5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 0, 80][..], b"GET /"].concat();
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(&request).await.unwrap();
        assert!(negotiate(&mut near).await.unwrap().is_some());
        drop(far);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"GET /");
    }

    #[test]
    fn a_failure_has_the_code_that_fits_best() {
        let api = |status| reply(&ApiError::Refused { status, message: String::new() }.into());
        assert_eq!([403, 404, 503, 500].map(api).map(|reply| reply as u8), [2, 4, 3, 1]);
        let refused = |reason| reply(&ConnectError::Refused { reason, detail: String::new() }.into());
        let reasons = [Refusal::Forbidden, Refusal::Unresolved, Refusal::Unreachable, Refusal::TimedOut];
        assert_eq!(reasons.map(refused).map(|reply| reply as u8), [2, 4, 5, 6]);
        assert_eq!(reply(&ConnectError::NotJoined.into()), Reply::NetworkUnreachable);
    }
}
