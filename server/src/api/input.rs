//! What handlers take from a request: parsed once, strictly, and described in the API's document.

use std::net::SocketAddr;

use bytes::Bytes;
use klnet_wire::id::Id;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reply::Refusal;

/// What is left of an admitted request: the part of the path that varies, the query, and the body.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What stands for `{id}` in the path.
    pub id: Option<String>,
    /// The query, undecoded; empty when there is none.
    pub query: String,
    /// The whole body.
    pub body: Bytes,
    /// Where the request came from.
    pub from: SocketAddr,
}

/// Which parts of a request are looked at; what a route does not take is refused or never read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Takes {
    /// The query.
    pub query: bool,
    /// The body, in JSON.
    pub body: bool,
    /// The body, a block of a content.
    pub octets: bool,
}

/// Something a handler takes.
pub trait Input: Sized + Send {
    /// Which parts of the request hold it.
    const TAKES: Takes = Takes { query: false, body: false, octets: false };

    /// Reads it.
    ///
    /// # Errors
    /// [`Refusal`] when the request does not hold it, whole and in its one form.
    fn read(parts: &Parts) -> Result<Self, Refusal>;

    /// Adds it to the description of a route.
    fn describe(generator: &mut SchemaGenerator, description: &mut Description);
}

/// A route's inputs as OpenAPI has them.
#[derive(Debug, Default)]
pub struct Description {
    /// Parameter objects, for path and query.
    pub parameters: Vec<Value>,
    /// The schema of the body.
    pub body: Option<Schema>,
    /// Whether the body is a block of a content.
    pub octets: bool,
}

/// The 128-bit identifier in the path.
#[derive(Debug, Clone, Copy)]
pub struct PathId<Kind>(pub Id<Kind>);

/// The identifier in the path where it is not of 128 bits.
#[derive(Debug, Clone)]
pub struct PathName(pub String);

/// The query.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// The body, in JSON.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// Where the request came from.
#[derive(Debug, Clone, Copy)]
pub struct From(pub SocketAddr);

impl Input for () {
    fn read(_: &Parts) -> Result<Self, Refusal> {
        Ok(())
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Description) {}
}

impl Input for From {
    fn read(parts: &Parts) -> Result<Self, Refusal> {
        Ok(Self(parts.from))
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Description) {}
}

impl<Kind> Input for PathId<Kind> {
    fn read(parts: &Parts) -> Result<Self, Refusal> {
        let id = parts.id.as_deref().and_then(|id| id.parse().ok());
        Ok(Self(id.ok_or_else(Refusal::not_found)?))
    }

    fn describe(_: &mut SchemaGenerator, description: &mut Description) {
        let schema = json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" });
        description.parameters.push(parameter("id", "path", true, &schema));
    }
}

impl Input for PathName {
    fn read(parts: &Parts) -> Result<Self, Refusal> {
        parts.id.clone().map(Self).ok_or_else(Refusal::not_found)
    }

    fn describe(_: &mut SchemaGenerator, description: &mut Description) {
        let schema = json!({ "type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$" });
        description.parameters.push(parameter("id", "path", true, &schema));
    }
}

impl<T: DeserializeOwned + JsonSchema + Send> Input for Query<T> {
    const TAKES: Takes = Takes { query: true, body: false, octets: false };

    fn read(parts: &Parts) -> Result<Self, Refusal> {
        let uri =
            format!("/?{}", parts.query).parse().map_err(|_| Refusal::invalid("the query cannot be read"))?;
        let query = axum::extract::Query::try_from_uri(&uri);
        query.map(|query| Self(query.0)).map_err(|error| Refusal::invalid(error.body_text()))
    }

    fn describe(generator: &mut SchemaGenerator, description: &mut Description) {
        let schema = T::json_schema(generator).to_value();
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        description
            .parameters
            .extend(properties.map(|(name, schema)| parameter(name, "query", false, schema)));
    }
}

impl<T: DeserializeOwned + JsonSchema + Send> Input for Body<T> {
    const TAKES: Takes = Takes { query: false, body: true, octets: false };

    fn read(parts: &Parts) -> Result<Self, Refusal> {
        let body = serde_json::from_slice(&parts.body);
        body.map(Self).map_err(|error| Refusal::invalid(format!("the body is not what this takes: {error}")))
    }

    fn describe(generator: &mut SchemaGenerator, description: &mut Description) {
        description.body = Some(generator.subschema_for::<T>());
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    const TAKES: Takes = Takes {
        query: A::TAKES.query || B::TAKES.query,
        body: A::TAKES.body || B::TAKES.body,
        octets: A::TAKES.octets || B::TAKES.octets,
    };

    fn read(parts: &Parts) -> Result<Self, Refusal> {
        Ok((A::read(parts)?, B::read(parts)?))
    }

    fn describe(generator: &mut SchemaGenerator, description: &mut Description) {
        A::describe(generator, description);
        B::describe(generator, description);
    }
}

fn parameter(name: &str, place: &str, required: bool, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "required": required, "schema": schema })
}
