//! MISP warning lists: things that are so common that a match elsewhere is most likely a mistake.
//!
//! `{"name", "description", "version", "type", "list": […]}`. Types `string`, `hostname` and `cidr` are looked up; a
//! `substring` or a `regex` would have to be searched for, in names that no query carries in the clear: they are left out.

use std::io::Read;

use serde::Deserialize;

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::says::Says;
use super::shape;
use crate::subject::Subject;
use crate::verdict::Category;

/// A list as published; unknown keys are no reason to refuse it.
#[derive(Deserialize)]
struct WarningList {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    version: u64,
    list: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Substring,
    Hostname,
    Cidr,
    Regex,
}

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut text = Vec::new();
    input.take(LIST_MOST + 1).read_to_end(&mut text).map_err(FeedError::Read)?;
    if text.len() as u64 > LIST_MOST {
        return Err(
            Reason::Structure(format!("more than {LIST_MOST} bytes, which is the limit of a list")).into()
        );
    }
    let list: WarningList = serde_json::from_slice(&text).map_err(structure)?;
    for (place, entry) in (1..).zip(&list.list) {
        take(list.kind, place, entry.trim().as_bytes(), intake)?;
    }
    let name: String = list.name.chars().take(100).collect();
    intake.note(format!("{} version {}", name.escape_debug(), list.version));
    Ok(())
}

fn take(kind: Kind, place: u64, entry: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
    let refused = || Reason::Subject(entry.into()).at(place);
    match kind {
        Kind::Cidr => intake.take(Subject::Network(shape::network(entry).ok_or_else(refused)?), SAYS),
        Kind::Hostname => {
            // A leading dot means the name and everything below it.
            if let Some(name) = entry.strip_prefix(b".") {
                intake.take(shape::domain(name).ok_or_else(refused)?, SAYS)?;
            }
            match shape::domain(entry) {
                Some(subject) => intake.take(subject, SAYS),
                None => leave_out("a host name that is none", place, intake),
            }
        }
        Kind::String => match shape::subject(entry) {
            Some(subject) => intake.take(subject, SAYS),
            None => leave_out("text that is no hash, name, address or URL", place, intake),
        },
        Kind::Substring | Kind::Regex => {
            leave_out("a pattern that would have to be searched for", place, intake)
        }
    }
}

fn leave_out(why: &'static str, place: u64, intake: &mut Intake) -> Result<(), FeedError> {
    intake.leave_out(why, place);
    Ok(())
}

/// Where JSON is damaged.
pub(super) fn structure(error: serde_json::Error) -> FeedError {
    if error.is_io() {
        return FeedError::Read(error.into());
    }
    Reason::Structure(error.to_string()).at(error.line().try_into().unwrap_or(u64::MAX))
}

/// The longest published list has a million names, 30 MB.
const LIST_MOST: u64 = 256 * 1024 * 1024;

const SAYS: Says = Says::clean(Category::Popular, 80);
