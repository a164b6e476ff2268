//! The gate every request passes: one form of path, no foreign origin, a pace, admission, a small body in time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use klnet_multicast::layout::{BLOCK_LOG2_MOST, CATALOGUE_LIMIT};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Context;
use super::http::Peer;
use super::input::{Parts, Takes};
use super::octets::Octets;
use super::rate::{Buckets, Pace, TooFast};
use super::reply::{Refusal, Reply};
use super::route::Route;
use crate::metrics::Why;

/// Serves exactly `routes`; everything else is not there.
///
/// # Panics
/// When a route has a method that HTTP does not name, or two routes are the same: faults of the table.
pub(super) fn router(context: &Context, routes: Vec<Route>, pace: Pace) -> Router {
    let buckets = Arc::new(Mutex::new(Buckets::new(pace)));
    let blocks = Arc::new(Semaphore::new(BLOCKS));
    let mut router = Router::new();
    for route in routes {
        let filter = MethodFilter::try_from(route.method.clone()).expect("the table uses ordinary methods");
        let path = route.path;
        let (buckets, blocks) = (buckets.clone(), blocks.clone());
        let gate = Arc::new(Gate { route, context: context.clone(), buckets, blocks });
        let pass = move |request: Request| async move { gate.pass(request).await };
        router = router.route(path, on(filter, pass));
    }
    router
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async |request: Request| match canonical(&request) {
            Ok(()) => Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this takes another method"),
            Err(refusal) => refusal,
        })
        .layer(map_response(secured))
}

/// What stands in front of one route.
struct Gate {
    route: Route,
    context: Context,
    buckets: Arc<Mutex<Buckets>>,
    /// Blocks of contents that may be in memory at once.
    blocks: Arc<Semaphore>,
}

impl Gate {
    async fn pass(&self, request: Request) -> Response {
        let answered = timeout(ANSWER_TIMEOUT, self.answer(request)).await.unwrap_or_else(|_| {
            let message = "the server did not finish in time; whether it was done is not known";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message))
        });
        let (why, response) = match answered {
            Ok(response) => ("ok", response),
            Err(refusal) => (refusal.code(), refusal.into_response()),
        };
        tracing::debug!(route = self.route.id, why, "request");
        self.context.metrics.requests.get_or_create(&Why { why }).inc();
        response
    }

    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        canonical(&request)?;
        let id = varying(request.uri().path(), self.route.path).map(str::to_owned);
        from_no_page(&self.route.method, request.headers())?;
        let peer = request.extensions().get::<Peer>().ok_or_else(Refusal::certificate)?.clone();
        if self.route.paced {
            let mut buckets = self.buckets.lock().expect("no holder of the buckets panics");
            let taken = buckets.take(Instant::now(), peer.address.into());
            taken.map_err(|TooFast(wait)| Refusal::too_fast(wait.as_secs() + 1))?;
        }
        let admit = || self.route.admit(self.context.clone(), peer.principal.as_ref());
        // Before the body, so that it is not waited for in vain; and after it, since it may take long enough for its
        // sender to be revoked meanwhile.
        drop(admit()?);
        let query = request.uri().query().map(str::to_owned);
        if query.is_some() && !self.route.takes.query {
            return Err(Refusal::invalid("this takes no query"));
        }
        let query = query.unwrap_or_default();
        let _room = self.room().await;
        let body = match self.route.takes {
            Takes { octets: true, .. } => limited(request, OCTETS_LIMIT).await?,
            Takes { body: true, .. } => json(request).await?,
            _ => Bytes::new(),
        };
        admit()?(Parts { id, query, body, from: peer.address }).await
    }
}

impl Gate {
    /// Waits until a block may be in memory, where one is taken or given.
    async fn room(&self) -> Option<SemaphorePermit<'_>> {
        let has_block = self.route.takes.octets || self.route.media_type == Octets::MEDIA_TYPE;
        match has_block {
            true => self.blocks.acquire().await.ok(),
            false => None,
        }
    }
}

/// Checks that the request's target has the one form this API knows. The router compares bytes, so what is decoded,
/// folded or merged elsewhere (`%2f`, `//`, `/./`, `;`) never gets past here.
fn canonical(request: &Request) -> Result<(), Refusal> {
    let uri = request.uri();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let sound = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    let path = uri.path().strip_prefix('/').ok_or_else(Refusal::not_found)?;
    let one_form = uri.authority().is_none() && path.len() <= PATH_LIMIT && path.split('/').all(sound);
    let one_host = request.headers().get_all(header::HOST).iter().count() == 1;
    match one_form && one_host {
        true => Ok(()),
        false => Err(Refusal::not_found()),
    }
}

/// The segment of a path that stands where its route has `{id}`.
fn varying<'a>(path: &'a str, pattern: &str) -> Option<&'a str> {
    let mut segments = path.split('/').zip(pattern.split('/'));
    segments.find(|(_, pattern)| *pattern == "{id}").map(|(segment, _)| segment)
}

/// Refuses what a web page sends: programs send no `Origin`, and no page has any business here.
fn from_no_page(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match !reads && headers.contains_key(header::ORIGIN) {
        true => Err(Refusal::denied("this is not for web pages")),
        false => Ok(()),
    }
}

async fn json(request: Request) -> Result<Bytes, Refusal> {
    if !is_json(request.headers()) {
        let message = "the body must be application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", message));
    }
    limited(request, BODY_LIMIT).await
}

async fn limited(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), limit).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body exceeds the limit of {limit} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "size", message))
        }
        Ok(Err(_)) => Err(Refusal::invalid("the body broke off")),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = kind.and_then(|kind| kind.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Nothing the API says may be kept, guessed at, framed or run by whatever shows it.
async fn secured(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Largest body that is a block of a content, in bytes.
pub const OCTETS_LIMIT: usize = 1 << BLOCK_LOG2_MOST;
const _: () = assert!(OCTETS_LIMIT >= CATALOGUE_LIMIT as usize);
/// Such bodies and answers at once: 64 MiB.
const BLOCKS: usize = 16;
/// Largest body in JSON, in bytes; the largest that anyone has reason to send is under 4 KiB.
pub const BODY_LIMIT: usize = 64 * 1024;
/// How long a body may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the whole answer may take: the body's time, and the store's.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(55);
/// Longest path, in bytes.
const PATH_LIMIT: usize = 256;
