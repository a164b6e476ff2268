//! One entry of a directory: attributes and their values, as bytes.

use std::collections::HashMap;

/// An entry. Names of attributes compare without case (RFC 4512, 2.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name.
    pub name: String,
    attributes: HashMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    /// An entry of this name that says nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: HashMap::new() }
    }

    /// Adds an attribute; what is beyond any sensible number is left out.
    pub fn insert(&mut self, attribute: &str, values: impl IntoIterator<Item = Vec<u8>>) {
        if self.attributes.len() < LIMIT {
            let values = values.into_iter().take(LIMIT).collect();
            self.attributes.insert(attribute.to_ascii_lowercase(), values);
        }
    }

    /// The first value of an attribute, which is asked for in lower case.
    pub fn first(&self, attribute: &str) -> Option<&[u8]> {
        self.all(attribute).next()
    }

    /// The first value of an attribute, where it is text.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.first(attribute).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of an attribute.
    pub fn all(&self, attribute: &str) -> impl Iterator<Item = &[u8]> {
        self.attributes.get(attribute).into_iter().flatten().map(Vec::as_slice)
    }
}

/// Attributes of an entry, and values of an attribute.
const LIMIT: usize = 64;
