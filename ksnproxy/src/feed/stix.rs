//! Indicators of a STIX 2.1 bundle, one object in memory at a time.

use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::FeedError;
use super::intake::Intake;
use super::misp::structure;
use super::says::Says;
use super::stix_pattern::{Pattern, subjects};
use super::{error::Reason, stamp};
use crate::verdict::{Category, Reputation};

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(input.take(BUNDLE_MOST)));
    let mut refused = None;
    let bundle = Bundle { intake, refused: &mut refused, place: 0 };
    let read = bundle.deserialize(&mut json).and_then(|()| json.end());
    match refused {
        Some(error) => Err(error),
        None => read.map_err(structure),
    }
}

/// What is used of an object.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    pattern: Option<String>,
    pattern_type: Option<String>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    #[serde(default)]
    revoked: bool,
    confidence: Option<u8>,
    #[serde(default)]
    indicator_types: Vec<String>,
}

struct Bundle<'a> {
    intake: &'a mut Intake,
    /// Why an object was refused: what JSON's own errors cannot say.
    refused: &'a mut Option<FeedError>,
    place: u64,
}

impl Bundle<'_> {
    fn object(&mut self, object: &Object) -> Result<(), FeedError> {
        if object.kind != "indicator" {
            return Ok(());
        }
        let place = self.place;
        let time = |text: &Option<String>| match text {
            Some(text) => stamp::parse(text.as_bytes())
                .map(Some)
                .ok_or_else(|| Reason::Time(text.as_bytes().into()).at(place)),
            None => Ok(None),
        };
        let (from, until) = (time(&object.valid_from)?, time(&object.valid_until)?);
        if object.confidence.is_some_and(|percent| percent > 100) {
            return Err(Reason::Number((&b"confidence above 100"[..]).into()).at(place));
        }
        if object.revoked || until.is_some_and(|until| until <= self.intake.now()) {
            return self.leave_out("an indicator that was revoked or is over");
        }
        if object.pattern_type.as_deref().is_some_and(|kind| kind != "stix") {
            return self.leave_out("a pattern of another language");
        }
        let Some(pattern) = &object.pattern else {
            return Err(Reason::Structure("an indicator without a pattern".to_owned()).at(place));
        };
        match subjects(pattern) {
            Pattern::Subjects(subjects) if subjects.is_empty() => {
                self.leave_out("a pattern about what no query asks for")
            }
            Pattern::Subjects(subjects) => {
                let says = says(object).at(from);
                subjects.into_iter().try_for_each(|subject| self.intake.take(subject, says))
            }
            Pattern::Beyond => self.leave_out("a pattern beyond equality and OR"),
            Pattern::Value(value) => Err(Reason::Subject(value.as_bytes().into()).at(place)),
        }
    }

    fn leave_out(&mut self, why: &'static str) -> Result<(), FeedError> {
        self.intake.leave_out(why, self.place);
        Ok(())
    }
}

fn says(object: &Object) -> Says {
    let has = |kind: &str| object.indicator_types.iter().any(|other| other == kind);
    let confidence = object.confidence.unwrap_or(70);
    if has("benign") {
        return Says::clean(Category::None, confidence);
    }
    let malicious = Says::malicious(Category::Malware, confidence);
    if has("anomalous-activity") && !has("malicious-activity") {
        return Says { reputation: Reputation::Suspicious, category: Category::None, ..malicious };
    }
    malicious
}

impl<'de> DeserializeSeed<'de> for Bundle<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Bundle<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a STIX bundle")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "objects" => map.next_value_seed(Objects(&mut self))?,
                "type" if map.next_value::<String>()? != "bundle" => {
                    return Err(serde::de::Error::custom("the type is not bundle"));
                }
                "type" => {}
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Objects<'a, 'b>(&'a mut Bundle<'b>);

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<(), A::Error> {
        while let Some(object) = objects.next_element::<Object>()? {
            self.0.place += 1;
            if let Err(error) = self.0.object(&object) {
                *self.0.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// Real bundles reach 66 MB; this also bounds the longest text in one.
const BUNDLE_MOST: u64 = 512 * 1024 * 1024;
