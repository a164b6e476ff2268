//! The API's own description, OpenAPI 3.1, made from the table of routes. What is served is `openapi.json` beside the crate's manifest, which a test makes
//! with this and compares.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::auth::Access;
use super::input::Description;
use super::reply::RefusalBody;
use super::route::Route;

/// Describes these routes.
pub fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(route, &mut generator));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "klnet Administration Server",
            "version": "1",
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { CERTIFICATE: { "type": "mutualTLS", "description": "A certificate of the fabric." } },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut inputs = Description::default();
    (route.input)(generator, &mut inputs);
    let reply = json!({ "description": "Done.", "content": { route.media_type: { "schema": (route.reply)(generator) } } });
    let refusal = generator.subschema_for::<RefusalBody>();
    let refusal =
        json!({ "description": "Refused.", "content": { "application/json": { "schema": refusal } } });
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "x-access": route.access().to_string(),
        "responses": { "200": reply, "default": refusal },
        "security": security(route.access()),
    });
    if !inputs.parameters.is_empty() {
        operation["parameters"] = inputs.parameters.into();
    }
    if let Some(schema) = inputs.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if inputs.octets {
        let content = json!({ "application/octet-stream": {} });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Agent | Access::Operator(_) => json!([{ CERTIFICATE: [] }]),
    }
}

const CERTIFICATE: &str = "clientCertificate";

const DESCRIPTION: &str = "Every route but the public ones takes a client certificate of the fabric; `x-access` says whose. \
Times are Unix seconds, identifiers 32 lower-case hexadecimal digits. Bodies are JSON of at most 64 KiB, whose unknown fields are refused, or a block of at most 4 MiB.";
