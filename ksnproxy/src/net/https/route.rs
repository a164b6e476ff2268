//! Which request is answered how.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prost::Message;

use super::super::desk::Desk;
use super::{Client, body};
use crate::asked::subjects;
use crate::frame::KEYS_LIMIT;
use crate::responder::address_bytes;
use crate::subject::Key;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no certificate was shown, and plain queries are not answered here")]
    Plain,
    #[error("a ticket is for devices that show a certificate")]
    NoDevice,
    #[error("there is nothing here")]
    NotFound,
    #[error("a body has at most {BODY} bytes")]
    TooLong,
    #[error("{0}")]
    Malformed(String),
    #[error("too many queries")]
    Rate,
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, client: Client, desk: &Desk) -> Response<Full<Bytes>> {
    let answered = match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/ticket") => ticket(client, desk),
        (&Method::POST, "/v1/keys") => packed(request, client, desk).await,
        (&Method::POST, "/v1/verdicts") => many(request, client, desk).await,
        (&Method::GET, path) => match path.strip_prefix("/v1/verdict/") {
            Some(text) => one(text, request.uri().query(), client, desk).await,
            None => Err(Refusal::NotFound),
        },
        _ => Err(Refusal::NotFound),
    };
    answered.unwrap_or_else(|refusal| refusal.into_response())
}

/// `GET /v1/verdict/FILE` and the like; a URL is in the query, `?url=`, percent-encoded.
async fn one(
    text: &str,
    query: Option<&str>,
    client: Client,
    desk: &Desk,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let text = match (text, query.and_then(|query| query.strip_prefix("url="))) {
        ("url", Some(url)) => unescaped(url)?,
        _ => unescaped(text)?,
    };
    let subjects = subjects(&text).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let keys: Vec<_> = subjects.iter().map(crate::subject::Subject::key).collect();
    let verdicts = verdicts(&keys, client, desk).await?;
    let mut json = String::with_capacity(192);
    body::verdict(&crate::asked::worst(&verdicts), &mut json);
    Ok(json_response(json))
}

/// `POST /v1/verdicts`: JSON, or protobuf when the content type says so.
async fn many(
    request: Request<Incoming>,
    client: Client,
    desk: &Desk,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let protobuf = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROTOBUF);
    let bytes = collected(request).await?;
    if protobuf {
        let keys = body::Keys::decode(bytes).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let keys = keys.keys().map_err(|error| Refusal::Malformed(error.to_string()))?;
        let verdicts = body::Verdicts::new(&verdicts(&keys, client, desk).await?);
        let mut response = Response::new(Full::from(verdicts.encode_to_vec()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        return Ok(response);
    }
    let asked: body::Subjects =
        serde_json::from_slice(&bytes).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let groups = asked.subjects.iter().map(|text| subjects(text)).collect::<Result<Vec<_>, _>>();
    let groups = groups.map_err(|error| Refusal::Malformed(error.to_string()))?;
    let keys: Vec<_> = groups.iter().flatten().map(crate::subject::Subject::key).collect();
    let mut verdicts = verdicts(&keys, client, desk).await?.into_iter();
    let worst = groups.iter().map(|group| {
        let of_group: Vec<_> = verdicts.by_ref().take(group.len()).collect();
        crate::asked::worst(&of_group)
    });
    Ok(json_response(body::verdicts(&worst.collect::<Vec<_>>())))
}

/// `POST /v1/keys`: keys and verdicts as they are in a frame, in hexadecimal digits.
async fn packed(
    request: Request<Incoming>,
    client: Client,
    desk: &Desk,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let malformed = || Refusal::Malformed("a key is 48 hexadecimal digits".to_owned());
    let texts: Vec<String> = serde_json::from_slice(&collected(request).await?).map_err(|_| malformed())?;
    let key = |text: &String| {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        Key::decode(bytes.as_slice().try_into().ok()?).ok()
    };
    let keys = texts.iter().map(key).collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
    let verdicts = verdicts(&keys, client, desk).await?;
    let packed: Vec<_> = verdicts.iter().map(|verdict| HEXLOWER.encode(&verdict.pack())).collect();
    Ok(json_response(serde_json::json!({ "verdicts": packed }).to_string()))
}

async fn collected(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), BODY).collect());
    let collected = collected.await.map_err(|_| Refusal::Malformed("the body took too long".to_owned()))?;
    Ok(collected.map_err(|_| Refusal::TooLong)?.to_bytes())
}

fn ticket(client: Client, desk: &Desk) -> Result<Response<Full<Bytes>>, Refusal> {
    let device = client.device.ok_or(Refusal::NoDevice)?;
    let ticket = desk.ticket(&device).map_err(|_| Refusal::Rate)?;
    Ok(json_response(body::ticket(&ticket)))
}

async fn verdicts(
    keys: &[Key],
    client: Client,
    desk: &Desk,
) -> Result<Vec<crate::verdict::Verdict>, Refusal> {
    if keys.is_empty() || keys.len() > KEYS_LIMIT {
        return Err(Refusal::Malformed(format!(
            "from 1 to {KEYS_LIMIT} keys can be asked about, not {}",
            keys.len()
        )));
    }
    let who = match client.device {
        Some(device) => device.id,
        None if desk.allows_plain() => address_bytes(client.address.ip()),
        None => return Err(Refusal::Plain),
    };
    desk.verdicts(who, keys).await.ok_or(Refusal::Rate)
}

fn json_response(json: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Undoes percent-encoding (RFC 3986, section 2.1).
fn unescaped(text: &str) -> Result<String, Refusal> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let bad = || Refusal::Malformed("the percent-encoding is damaged".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => {
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err(bad());
                };
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let status = match self {
            Self::Plain | Self::NoDevice => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Rate => StatusCode::TOO_MANY_REQUESTS,
        };
        let json = serde_json::json!({ "error": self.to_string() }).to_string();
        let mut response = json_response(json);
        *response.status_mut() = status;
        response
    }
}

const PROTOBUF: &str = "application/x-protobuf";

/// 255 URLs of ordinary length.
const BODY: usize = 64 << 10;

/// How long a body may take.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
