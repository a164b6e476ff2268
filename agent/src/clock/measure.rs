//! Compares this clock with the server's although certificates may fail by time.
//!
//! The server's chain is verified in every other way, at the nearest moment at which it is valid; then its Date header
//! (RFC 9110, 6.6.1) tells its clock. Only the difference is used, and only in words for people.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_wire::identity::crypto::provider;
use klnet_wire::identity::tls::{ALPN_HTTP, client_config, refused};
use klnet_wire::identity::{ChainError, Role, Trust};
use klnet_wire::net::dial::{DialError, dial};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Skew;
use crate::discovery;
use date::parse;

mod date;

/// Why the clocks were not compared.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The server was not reached, or is none of this fabric.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The exchange broke off.
    #[error("the exchange with the server broke off: {0}")]
    Io(#[from] std::io::Error),
    /// The answer has no date.
    #[error("the server does not tell its date")]
    NoDate,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] Error),
}

/// Asks the server at `host` and `port` what time it has.
///
/// # Errors
/// [`MeasureError`].
pub async fn skew(host: &str, port: u16, trust: &Trust) -> Result<Skew, MeasureError> {
    let (mut stream, _) = dial(host, port, timeless(trust)?).await?;
    let asking = async {
        let request =
            format!("HEAD {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n", discovery::PATH);
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_LIMIT {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(head)
    };
    let head = timeout(ANSWER_TIMEOUT, asking)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let server = date_in(&head).ok_or(MeasureError::NoDate)?;
    Ok(Skew::between(SystemTime::now(), server))
}

fn date_in(head: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(head);
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, date) = headers.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    parse(date.trim())
}

/// Like the agent's own configuration, but a chain may fail by time.
fn timeless(trust: &Trust) -> Result<Arc<ClientConfig>, Error> {
    let mut config = (*client_config(None, trust.clone(), &[ALPN_HTTP])?).clone();
    // Nothing that this connection brings is trusted.
    config.dangerous().set_certificate_verifier(Arc::new(Timeless { trust: trust.clone() }));
    Ok(Arc::new(config))
}

/// Verifies a server's chain at the moment nearest to now at which it is valid.
#[derive(Debug)]
struct Timeless {
    trust: Trust,
}

impl Timeless {
    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), ChainError> {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let moved = match self.trust.verify(chain, &[Role::Server], now) {
            Err(ChainError::Expired(ago)) => at(now.as_secs().saturating_sub(ago.as_secs())),
            Err(ChainError::NotYetValid(ahead)) => at(now.as_secs().saturating_add(ahead.as_secs())),
            other => return other.map(|_| ()),
        };
        self.trust.verify(chain, &[Role::Server], moved).map(|_| ())
    }
}

impl ServerCertVerifier for Timeless {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(rest).cloned().collect();
        match self.verify(&chain, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(refused(error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer's head that are read.
const HEAD_LIMIT: usize = 8 * 1024;
