//! Safe Browsing v5 hash lists, as `hashLists.batchGet` and `hashList.get` answer in protobuf: whole ones, and what has
//! changed since a version that is here.
//!
//! A list has the first 4, 8, 16 or 32 bytes of hashes of expressions. Of four or eight bytes a match may be another URL:
//! such a claim answers only in part (see `Snapshot::lookup`), and a client that has to know asks for the whole hash.

mod message;

use std::io::Read;

use prost::Message as _;

use super::error::{FeedError, Reason};
use super::hash_list::{Update, length_of};
use super::intake::Intake;
use super::rice::Wide;
use message::{BatchGetHashListsResponse, HashList, OutOfRange};

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut message = Vec::new();
    input.take(LIST_MOST + 1).read_to_end(&mut message).map_err(FeedError::Read)?;
    if message.len() as u64 > LIST_MOST {
        return Err(
            Reason::Structure(format!("more than {LIST_MOST} bytes, which is the limit of a list")).into()
        );
    }
    for (place, list) in (1..).zip(lists(&message)?) {
        let wait = list.wait();
        let update = update(list).map_err(|reason| reason.at(place))?;
        intake.update(update, wait).map_err(|reason| reason.at(place))?;
    }
    Ok(())
}

/// One list or an answer with several; both begin with field 1, which is a name or a list.
fn lists(message: &[u8]) -> Result<Vec<HashList>, FeedError> {
    match HashList::decode(message) {
        Ok(list) if length_of(&list.name).is_some() => Ok(vec![list]),
        _ => match BatchGetHashListsResponse::decode(message) {
            Ok(answer) => Ok(answer.hash_lists),
            Err(error) => Err(Reason::Structure(error.to_string()).into()),
        },
    }
}

fn update(list: HashList) -> Result<Update, Reason> {
    if length_of(&list.name).is_none() {
        return Err(Reason::Word(list.name.as_bytes().into()));
    }
    let damaged = || Reason::Structure("the coded hashes are damaged".to_owned());
    let (mut additions, mut removals) = (Vec::new(), Vec::new());
    for (rice, length) in list.additions()? {
        if Some(length) != length_of(&list.name) {
            return Err(Reason::Structure(format!("hashes of {length} bytes in {}", list.name)));
        }
        let decoded = rice.decode(8 * u32::from(length), |value| {
            additions.extend_from_slice(&value.to_bytes()[32 - usize::from(length)..]);
        });
        decoded.ok_or_else(damaged)?;
    }
    if let Some(rice) = list.removals()? {
        let place = |place: Wide| usize::try_from(place.low).unwrap_or(usize::MAX);
        rice.decode(32, |value| removals.push(place(value))).ok_or_else(damaged)?;
    }
    let HashList { name, version, partial_update: is_partial, sha256_checksum: checksum, .. } = list;
    Ok(Update { name, version, is_partial, removals, additions, checksum })
}

impl From<OutOfRange> for Reason {
    fn from(_: OutOfRange) -> Self {
        Self::Head
    }
}

/// The longest list has some ten million entries.
const LIST_MOST: u64 = 512 * 1024 * 1024;
