//! Safe Browsing v5 hash lists, as `hashLists.batchGet` and `hashList.get` answer in protobuf.
//!
//! A list has the first 4, 8, 16 or 32 bytes of hashes of expressions. Of four or eight bytes a match may be another URL:
//! such a claim answers only in part (see `Snapshot::lookup`), and a client that has to know asks for the whole hash.

use std::io::Read;

use prost::Message as _;
use ring::digest::{Context, SHA256};

use super::error::{FeedError, Reason};
use super::intake::{Intake, Says};
use super::rice::{Rice, Wide};
use crate::subject::{Key, Kind};
use crate::verdict::{Category, Reputation};

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut message = Vec::new();
    input.take(LIST_MOST + 1).read_to_end(&mut message).map_err(FeedError::Read)?;
    if message.len() as u64 > LIST_MOST {
        return Err(
            Reason::Structure(format!("more than {LIST_MOST} bytes, which is the limit of a list")).into()
        );
    }
    for (place, list) in (1..).zip(lists(&message)?) {
        self::list(&list, place, intake)?;
    }
    Ok(())
}

/// One list or an answer with several; both begin with field 1, which is a name or a list.
fn lists(message: &[u8]) -> Result<Vec<HashList>, FeedError> {
    match HashList::decode(message) {
        Ok(list) if says_of(&list.name).is_some() => Ok(vec![list]),
        _ => match BatchGetHashListsResponse::decode(message) {
            Ok(answer) => Ok(answer.hash_lists),
            Err(error) => Err(Reason::Structure(error.to_string()).into()),
        },
    }
}

fn list(list: &HashList, place: u64, intake: &mut Intake) -> Result<(), FeedError> {
    let says = says_of(&list.name).ok_or_else(|| Reason::Word(list.name.as_bytes().into()).at(place))?;
    if list.partial_update || list.compressed_removals.is_some() {
        return Err(Reason::Partial.at(place));
    }
    let mut hash = Context::new(&SHA256);
    let mut keys = Vec::new();
    for (rice, length) in additions(list).ok_or_else(|| Reason::Head.at(place))? {
        let decoded = rice.decode(8 * length, |value| {
            let length = length as usize;
            let bytes = value.to_bytes();
            hash.update(&bytes[32 - length..]);
            keys.push(key(&bytes[32 - length..]));
        });
        decoded.ok_or_else(|| Reason::Structure("the coded hashes are damaged".to_owned()).at(place))?;
    }
    if hash.finish().as_ref() != list.sha256_checksum {
        return Err(Reason::Checksum.at(place));
    }
    keys.into_iter().try_for_each(|key| intake.take_key(key, says))
}

/// The list's coded hashes and how many bytes each has; `None` when a count or a parameter is out of range.
fn additions(list: &HashList) -> Option<Vec<(Rice<'_>, u32)>> {
    let mut additions = Vec::new();
    let mut add = |first, parameter: i32, count: i32, data, length, range: std::ops::RangeInclusive<u32>| {
        let differences = usize::try_from(count).ok()?;
        // Without differences there is no parameter.
        let parameter = u32::try_from(parameter).ok().filter(|it| differences == 0 || range.contains(it))?;
        additions.push((Rice { first, parameter, differences, data }, length));
        Some(())
    };
    if let Some(it) = &list.additions_four_bytes {
        add(it.first_value.into(), it.rice_parameter, it.entries_count, &it.encoded_data[..], 4, 3..=30)?;
    }
    if let Some(it) = &list.additions_eight_bytes {
        let first = Wide { high: 0, low: it.first_value.into() };
        add(first, it.rice_parameter, it.entries_count, &it.encoded_data[..], 8, 35..=62)?;
    }
    if let Some(it) = &list.additions_sixteen_bytes {
        let first = Wide { high: 0, low: both(it.first_value_hi, it.first_value_lo) };
        add(first, it.rice_parameter, it.entries_count, &it.encoded_data[..], 16, 99..=126)?;
    }
    if let Some(it) = &list.additions_thirty_two_bytes {
        let high = both(it.first_value_first_part, it.first_value_second_part);
        let low = both(it.first_value_third_part, it.first_value_fourth_part);
        add(Wide { high, low }, it.rice_parameter, it.entries_count, &it.encoded_data[..], 32, 227..=254)?;
    }
    Some(additions)
}

/// Of sixteen bytes and more a key is a whole one; a shorter one has its length as extent.
fn key(hash: &[u8]) -> Key {
    let mut bytes = [0; 16];
    let length = hash.len().min(16);
    bytes[..length].copy_from_slice(&hash[..length]);
    let extent = if length < 16 { length as u64 } else { Key::NO_EXTENT };
    Key { kind: Kind::Url, bytes, extent }
}

/// What being on a list means. A hash that begins alike is suspicious, no more.
fn says_of(name: &str) -> Option<Says> {
    let suspicious =
        |category| Says { reputation: Reputation::Suspicious, ..Says::malicious(category, CONFIDENCE) };
    match name.split_once('-')?.0 {
        "gc" => Some(Says::clean(Category::None, CONFIDENCE)),
        "se" => Some(suspicious(Category::Phishing)),
        "mw" => Some(suspicious(Category::Malware)),
        "uws" | "uwsa" | "pha" => Some(suspicious(Category::Unwanted)),
        _ => None,
    }
}

fn both(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

const CONFIDENCE: u8 = 60;

/// The longest list has some ten million entries.
const LIST_MOST: u64 = 512 * 1024 * 1024;

#[derive(Clone, PartialEq, prost::Message)]
struct BatchGetHashListsResponse {
    #[prost(message, repeated, tag = "1")]
    hash_lists: Vec<HashList>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HashList {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    version: Vec<u8>,
    #[prost(bool, tag = "3")]
    partial_update: bool,
    #[prost(message, optional, tag = "4")]
    additions_four_bytes: Option<Rice32>,
    #[prost(message, optional, tag = "5")]
    compressed_removals: Option<Rice32>,
    #[prost(bytes = "vec", tag = "7")]
    sha256_checksum: Vec<u8>,
    #[prost(message, optional, tag = "9")]
    additions_eight_bytes: Option<Rice64>,
    #[prost(message, optional, tag = "10")]
    additions_sixteen_bytes: Option<Rice128>,
    #[prost(message, optional, tag = "11")]
    additions_thirty_two_bytes: Option<Rice256>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rice32 {
    #[prost(uint32, tag = "1")]
    first_value: u32,
    #[prost(int32, tag = "2")]
    rice_parameter: i32,
    #[prost(int32, tag = "3")]
    entries_count: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rice64 {
    #[prost(uint64, tag = "1")]
    first_value: u64,
    #[prost(int32, tag = "2")]
    rice_parameter: i32,
    #[prost(int32, tag = "3")]
    entries_count: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rice128 {
    #[prost(uint64, tag = "1")]
    first_value_hi: u64,
    #[prost(fixed64, tag = "2")]
    first_value_lo: u64,
    #[prost(int32, tag = "3")]
    rice_parameter: i32,
    #[prost(int32, tag = "4")]
    entries_count: i32,
    #[prost(bytes = "vec", tag = "5")]
    encoded_data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rice256 {
    #[prost(uint64, tag = "1")]
    first_value_first_part: u64,
    #[prost(fixed64, tag = "2")]
    first_value_second_part: u64,
    #[prost(fixed64, tag = "3")]
    first_value_third_part: u64,
    #[prost(fixed64, tag = "4")]
    first_value_fourth_part: u64,
    #[prost(int32, tag = "5")]
    rice_parameter: i32,
    #[prost(int32, tag = "6")]
    entries_count: i32,
    #[prost(bytes = "vec", tag = "7")]
    encoded_data: Vec<u8>,
}
