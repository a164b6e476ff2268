//! One dial is four steps: name, TCP, TLS, certificate.

use std::io::ErrorKind;
use std::time::Duration;

use klnet_wire::net::dial::DialError;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Outcome, Trouble, failed, ok, words};
use crate::clock::Skew;
use crate::control::{Dialled, Unreachable};
use crate::directory::Candidate;

/// The steps of a dial, in order.
pub(super) const PARTS: [&str; 4] = ["DNS", "TCP", "TLS", "certificate"];

/// What a dial says of each of its steps.
pub(super) fn outcomes(
    candidate: &Candidate,
    result: &Result<Dialled, Unreachable>,
    skew: Option<Skew>,
) -> [Outcome; 4] {
    let resolved = || ok(candidate.host.clone());
    let connected = |address: &dyn ToString| ok(format!("connected to {}", address.to_string()));
    let spoken = || ok("TLS 1.3".to_owned());
    let error = match result {
        Ok(dialled) => {
            let server = dialled.server.map_or("a server".to_owned(), |server| format!("server {server}"));
            let certificate = ok(format!("{server} of this fabric"));
            return [resolved(), connected(&dialled.address), spoken(), certificate];
        }
        Err(Unreachable(errors)) => errors.first(),
    };
    let Some(error) = error else { return [const { Outcome::Skipped }; 4] };
    let broken = failed(words::of_dial(error, skew));
    match error {
        DialError::Resolve { .. } => [broken, Outcome::Skipped, Outcome::Skipped, Outcome::Skipped],
        DialError::Tcp { .. } => [resolved(), broken, Outcome::Skipped, Outcome::Skipped],
        DialError::Tls { address, .. } => [resolved(), connected(address), broken, Outcome::Skipped],
        DialError::Certificate { address, .. } => [resolved(), connected(address), spoken(), broken],
    }
}

/// Whether the server keeps the connection. In TLS 1.3 a client has finished before the server has judged its
/// certificate, so a refusal comes as an alert on the first read.
pub(super) async fn stays_open(dialled: Dialled) -> Result<(), Trouble> {
    let mut stream = dialled.into_stream();
    match timeout(VERDICT_TIMEOUT, stream.read_u8()).await {
        Err(_) | Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(words::of_closing("it closes the connection"))
        }
        Ok(Err(error)) => Err(words::of_closing(&error.to_string())),
    }
}

/// How long a server may take to refuse a certificate; a good one is met with silence until HELLO.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(500);
