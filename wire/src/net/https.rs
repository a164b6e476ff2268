//! A small HTTPS client for the fabric's API: one request, one connection, every step with a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::dial::{DialError, dial};
use crate::identity::profile::Profile;
use crate::identity::tls::{ALPN_HTTP, Identity, client_config, pinned_config, unverified_config};
use crate::identity::trust::{Pin, Trust};

/// A client of one server's API.
#[derive(Debug, Clone)]
pub struct Client {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The URL is not `https://HOST[:PORT]`.
    #[error("{0} is not https://HOST[:PORT]")]
    Url(String),
    /// TLS cannot be set up with this identity.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// The server was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The exchange broke off. When it does so at once, the server may have refused the certificate.
    #[error("the exchange with the server broke off: {0}")]
    Broken(String),
    /// The server took too long.
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
    /// The server refused, and says why.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// The HTTP status with which the server refused, if it did.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Client {
    /// A client that is the profile's operator.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Setup`].
    pub fn new(profile: &Profile) -> Result<Self, ApiError> {
        Self::with_identity(&profile.url, &profile.identity, profile.trust.clone())
    }

    /// A client that is whoever `identity` says.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Setup`].
    pub fn with_identity(url: &str, identity: &Identity, trust: Trust) -> Result<Self, ApiError> {
        Self::with_tls(url, client_config(Some(identity), trust, &[ALPN_HTTP])?)
    }

    /// A client without a certificate, of a server under a known root.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Setup`].
    pub fn anonymous(url: &str, trust: Trust) -> Result<Self, ApiError> {
        Self::with_tls(url, client_config(None, trust, &[ALPN_HTTP])?)
    }

    /// A client without a certificate, of a server whose root has this pin.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Setup`].
    pub fn pinned(url: &str, pin: Pin) -> Result<Self, ApiError> {
        Self::with_tls(url, pinned_config(pin, &[ALPN_HTTP])?)
    }

    /// A client of whoever answers at `url`: for what proves itself, and tells nothing.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Setup`].
    pub fn unverified(url: &str) -> Result<Self, ApiError> {
        Self::with_tls(url, unverified_config(&[ALPN_HTTP])?)
    }

    /// A client with a TLS configuration of the caller's.
    ///
    /// # Errors
    /// [`ApiError::Url`].
    pub fn with_tls(url: &str, tls: Arc<ClientConfig>) -> Result<Self, ApiError> {
        let (host, port) = parse_url(url)?;
        Ok(Self { host, port, tls })
    }

    /// `GET path`, the answer read as JSON.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ApiError> {
        parse(&self.request(Method::GET, path, Bytes::new()).await?)
    }

    /// `POST path` with a JSON body, the answer read as JSON.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post<T: Serialize, R: DeserializeOwned>(&self, path: &str, body: &T) -> Result<R, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Malformed(error.to_string()))?;
        parse(&self.request(Method::POST, path, body.into()).await?)
    }

    /// `PUT path` with bytes as they are, the answer read as JSON.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn put<R: DeserializeOwned>(&self, path: &str, bytes: Bytes) -> Result<R, ApiError> {
        parse(&self.request(Method::PUT, path, bytes).await?)
    }

    /// `DELETE path`, the answer read as JSON.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete<R: DeserializeOwned>(&self, path: &str) -> Result<R, ApiError> {
        parse(&self.request(Method::DELETE, path, Bytes::new()).await?)
    }

    /// Sends one request and gives the body of a successful answer.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let (stream, _) = dial(&self.host, self.port, self.tls.clone()).await?;
        let exchange = self.exchange(TokioIo::new(stream), method, path, body);
        let (status, body) =
            timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| ApiError::Timeout(ANSWER_TIMEOUT))??;
        match status.is_success() {
            true => Ok(body),
            false => Err(ApiError::Refused { status: status.as_u16(), message: refusal(status, &body) }),
        }
    }

    async fn exchange<S>(
        &self,
        io: S,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ApiError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let broken = |error: hyper::Error| ApiError::Broken(deepest(&error));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let kind = if method == Method::PUT { "application/octet-stream" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| ApiError::Broken(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
        connection.abort();
        let body = body.map_err(|error| ApiError::Broken(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

fn parse_url(url: &str) -> Result<(String, u16), ApiError> {
    let bad = || ApiError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let https = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
    let host = uri.host().filter(|_| https).ok_or_else(bad)?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(HTTPS_PORT)))
}

fn parse<R: DeserializeOwned>(body: &[u8]) -> Result<R, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

/// The server's own words, or the status when it has none.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice(body)
        .map_or_else(|_| format!("the server answered {status}"), |refusal: Refusal| refusal.error)
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Where the API is unless the URL says otherwise.
const HTTPS_PORT: u16 = 443;
