//! Bytes that are neither JSON nor certificates.

use bytes::Bytes;
use schemars::{Schema, SchemaGenerator};

use super::input::{Description, Input, Parts, Takes};
use super::reply::{Refusal, Reply};

/// A block of a content, as body or answer.
#[derive(Debug)]
pub struct Octets(pub Bytes);

impl Input for Octets {
    const TAKES: Takes = Takes { query: false, body: false, octets: true };

    fn read(parts: &Parts) -> Result<Self, Refusal> {
        Ok(Self(parts.body.clone()))
    }

    fn describe(_: &mut SchemaGenerator, description: &mut Description) {
        description.octets = true;
    }
}

impl Reply for Octets {
    const MEDIA_TYPE: &'static str = "application/octet-stream";

    fn body(self) -> Vec<u8> {
        self.0.into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "format": "binary" })
    }
}
