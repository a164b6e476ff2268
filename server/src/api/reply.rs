//! What the API answers: JSON, PEM, or a refusal with words and a code.

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::distribution::ContentError;
use crate::fleet::{FleetError, Kind};

/// Something a handler may answer, and how the API's document describes it.
pub trait Reply: Send {
    /// Media type of the body.
    const MEDIA_TYPE: &'static str;

    /// The body.
    fn body(self) -> Vec<u8>;

    /// The body's schema.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// An answer in JSON.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// An answer that is certificates.
#[derive(Debug)]
pub struct Pem(pub String);

/// The API's own description, as it is committed; a test holds it to the table of routes.
#[derive(Debug, JsonSchema)]
#[schemars(with = "serde_json::Map<String, serde_json::Value>")]
pub struct Document;

/// There is nothing to say but that it was done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

impl<T: Serialize + JsonSchema + Send> Reply for Json<T> {
    const MEDIA_TYPE: &'static str = "application/json";

    fn body(self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("the API's types have text keys only")
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl Reply for Pem {
    const MEDIA_TYPE: &'static str = "application/x-pem-file";

    fn body(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<String>()
    }
}

impl Reply for Document {
    const MEDIA_TYPE: &'static str = "application/json";

    fn body(self) -> Vec<u8> {
        include_bytes!("../../openapi.json").to_vec()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<u64>,
}

/// A refusal's body.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refusal")]
pub struct RefusalBody {
    /// Words for a person.
    pub error: String,
    /// One word for a program.
    pub code: String,
}

impl Refusal {
    /// A refusal with these words.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// The route takes a certificate, and there was none.
    pub fn certificate() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "certificate", "this takes a client certificate")
    }

    /// The caller may not.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", message)
    }

    /// The request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// There is no such thing.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
    }

    /// Too many requests; the next one may come after this many seconds.
    pub fn too_fast(seconds: u64) -> Self {
        let refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "limit", "too many requests from this address");
        Self { retry_after: Some(seconds.max(1)), ..refusal }
    }

    /// One word for a program, from a closed set.
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let (status, code) = match error.kind() {
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
            Kind::Denied => (StatusCode::FORBIDDEN, "denied"),
            Kind::Superseded => (StatusCode::FORBIDDEN, "superseded"),
            Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            Kind::Limit => (StatusCode::TOO_MANY_REQUESTS, "limit"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        let (status, code) = match error {
            ContentError::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ContentError::Shape | ContentError::Mismatch(_) => (StatusCode::BAD_REQUEST, "invalid"),
            ContentError::NotNext(_) => (StatusCode::CONFLICT, "conflict"),
            ContentError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "limit"),
            ContentError::NoRoom { .. } | ContentError::Io { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody { error: self.message, code: self.code.to_owned() };
        let mut response = respond(self.status, Json(body));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An answer of this status.
pub fn respond<R: Reply>(status: StatusCode, reply: R) -> Response {
    (status, [(header::CONTENT_TYPE, R::MEDIA_TYPE)], reply.body()).into_response()
}
