//! The messages of Safe Browsing v5 that lists come in, and those of their fields that are read.

use super::super::rice::{Rice, Wide};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BatchGetHashListsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) hash_lists: Vec<HashList>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HashList {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) version: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(super) partial_update: bool,
    #[prost(message, optional, tag = "4")]
    additions_four_bytes: Option<Rice32>,
    #[prost(message, optional, tag = "5")]
    compressed_removals: Option<Rice32>,
    #[prost(message, optional, tag = "6")]
    minimum_wait_duration: Option<Duration>,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) sha256_checksum: Vec<u8>,
    #[prost(message, optional, tag = "9")]
    additions_eight_bytes: Option<Rice64>,
    #[prost(message, optional, tag = "10")]
    additions_sixteen_bytes: Option<Rice128>,
    #[prost(message, optional, tag = "11")]
    additions_thirty_two_bytes: Option<Rice256>,
}

/// A duration of protobuf; parts of a second do not matter here.
#[derive(Clone, PartialEq, prost::Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
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

/// A count or a parameter that is out of range.
pub(super) struct OutOfRange;

impl HashList {
    /// The coded hashes that come to the list, and how many bytes each has: one length in each list.
    pub(super) fn additions(&self) -> Result<Vec<(Rice<'_>, u8)>, OutOfRange> {
        let mut additions = Vec::new();
        if let Some(it) = &self.additions_four_bytes {
            additions.push((it.rice()?, 4));
        }
        if let Some(it) = &self.additions_eight_bytes {
            let first = Wide { high: 0, low: it.first_value.into() };
            let parameter = (it.rice_parameter, 35..=62);
            additions.push((rice(first, parameter, it.entries_count, &it.encoded_data)?, 8));
        }
        if let Some(it) = &self.additions_sixteen_bytes {
            let first = Wide { high: 0, low: both(it.first_value_hi, it.first_value_lo) };
            let parameter = (it.rice_parameter, 99..=126);
            additions.push((rice(first, parameter, it.entries_count, &it.encoded_data)?, 16));
        }
        if let Some(it) = &self.additions_thirty_two_bytes {
            let first = Wide {
                high: both(it.first_value_first_part, it.first_value_second_part),
                low: both(it.first_value_third_part, it.first_value_fourth_part),
            };
            let parameter = (it.rice_parameter, 227..=254);
            additions.push((rice(first, parameter, it.entries_count, &it.encoded_data)?, 32));
        }
        Ok(additions)
    }

    /// The coded places of hashes that go from the list before.
    pub(super) fn removals(&self) -> Result<Option<Rice<'_>>, OutOfRange> {
        self.compressed_removals.as_ref().map(Rice32::rice).transpose()
    }

    /// After how many seconds it may be asked for again.
    pub(super) fn wait(&self) -> i64 {
        self.minimum_wait_duration.as_ref().map_or(0, |wait| wait.seconds)
    }
}

impl Rice32 {
    fn rice(&self) -> Result<Rice<'_>, OutOfRange> {
        let parameter = (self.rice_parameter, 3..=30);
        rice(self.first_value.into(), parameter, self.entries_count, &self.encoded_data)
    }
}

fn rice(
    first: Wide,
    (parameter, range): (i32, std::ops::RangeInclusive<u32>),
    count: i32,
    data: &[u8],
) -> Result<Rice<'_>, OutOfRange> {
    let differences = usize::try_from(count).map_err(|_| OutOfRange)?;
    let parameter = u32::try_from(parameter).map_err(|_| OutOfRange)?;
    // Without differences there is no parameter.
    match differences == 0 || range.contains(&parameter) {
        true => Ok(Rice { first, parameter, differences, data }),
        false => Err(OutOfRange),
    }
}

fn both(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
