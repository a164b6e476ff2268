//! The committed OpenAPI document is the table's.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::{openapi, table};

#[test]
fn the_committed_document_is_made_from_the_table() {
    let document = serde_json::to_string_pretty(&openapi::document(&table::routes())).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("KLNET_BLESS").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == document, "server/openapi.json is stale: run this test with KLNET_BLESS=1");
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document = openapi::document(&table::routes());
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let text = |key: &str| operation[key].as_str().unwrap().to_owned();
            described.insert((
                method.to_ascii_uppercase(),
                path.clone(),
                text("operationId"),
                text("x-access"),
            ));
        }
    }
    let routes = table::routes();
    let route = |route: &crate::api::route::Route| {
        (route.method.to_string(), route.path.to_owned(), route.id.to_owned(), route.access().to_string())
    };
    assert_eq!(described, routes.iter().map(route).collect());
    assert_eq!(described.len(), routes.len(), "no two routes are the same");
    let ids: BTreeSet<_> = routes.iter().map(|route| route.id).collect();
    assert_eq!(ids.len(), routes.len(), "no two routes have the same name");
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = openapi::document(&table::routes());
    let mut checked = 0;
    each_reference(&document, &mut |reference| {
        let pointer = reference.strip_prefix('#').expect("references stay inside");
        assert!(document.pointer(pointer).is_some(), "{reference}");
        checked += 1;
    });
    assert!(checked > table::routes().len());
}

fn each_reference(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found(reference);
            }
            object.values().for_each(|value| each_reference(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| each_reference(value, found)),
        _ => {}
    }
}
