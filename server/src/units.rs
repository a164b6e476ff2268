//! Human units: `30s`, `15m`, `24h`, `7d`, `1Gbit/s`, and ranges of ports.

use std::num::NonZeroU64;
use std::time::Duration;

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: a number and a unit of ms, s, m, h or d, such as 30s or 24h")]
pub struct NotADuration(String);

/// Reads a duration such as `30s`.
///
/// # Errors
/// [`NotADuration`] when it is none, or longer than some centuries.
pub fn duration(text: &str) -> Result<Duration, NotADuration> {
    let bad = || NotADuration(text.to_owned());
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = millis.and_then(|unit: u64| unit.checked_mul(number)).filter(|millis| *millis <= LONGEST);
    millis.map(Duration::from_millis).ok_or_else(bad)
}

/// Writes a duration in the largest unit that has it whole.
pub fn print_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.into_iter().find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// Text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate: a number and a unit of kbit/s, Mbit/s, Gbit/s, B/s, kB/s, MB/s or GB/s, such as 100Mbit/s"
)]
pub struct NotARate(String);

/// Reads a rate such as `1Gbit/s` as bytes a second; prefixes are decimal, as everywhere on lines.
///
/// # Errors
/// [`NotARate`] when it is none, or nothing.
pub fn rate(text: &str) -> Result<NonZeroU64, NotARate> {
    let bad = || NotARate(text.to_owned());
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit = RATES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes).ok_or_else(bad)?;
    unit.checked_mul(number).and_then(NonZeroU64::new).ok_or_else(bad)
}

/// Writes a rate in the largest unit that has it whole, bits before bytes.
pub fn print_rate(rate: NonZeroU64) -> String {
    let whole = |(_, bytes): &&(&str, u64)| rate.get().is_multiple_of(*bytes);
    let (name, bytes) = RATES.iter().find(whole).expect("every rate is whole in bytes");
    format!("{}{name}", rate.get() / bytes)
}

/// Units of rates and their bytes a second, the order in which they are tried.
const RATES: [(&str, u64); 7] = [
    ("Gbit/s", 125_000_000),
    ("Mbit/s", 125_000),
    ("kbit/s", 125),
    ("GB/s", 1_000_000_000),
    ("MB/s", 1_000_000),
    ("kB/s", 1000),
    ("B/s", 1),
];

/// Text that is no list of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port or range of at most {RANGE_LIMIT} ports, such as 23100 or 23100-23107")]
pub struct NotPorts(String);

/// Reads a port or a range of ports; `0` lets the system choose one.
///
/// # Errors
/// [`NotPorts`] when it is none.
pub fn ports(text: &str) -> Result<Vec<u16>, NotPorts> {
    let bad = || NotPorts(text.to_owned());
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
    let range = match text.split_once('-') {
        Some((first, last)) => port(first)?..=port(last)?,
        None => port(text)?..=port(text)?,
    };
    let ports: Vec<u16> = range.take(RANGE_LIMIT + 1).collect();
    match (1..=RANGE_LIMIT).contains(&ports.len()) {
        true => Ok(ports),
        false => Err(bad()),
    }
}

/// About three centuries: nothing that adds it to a clock overflows.
const LONGEST: u64 = 10_000_000_000_000;
/// The product's ranges have a hundred ports each.
const RANGE_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for text in ["0ms", "1500ms", "59s", "90m", "23h", "7d"] {
            assert_eq!(print_duration(duration(text).unwrap()), text);
        }
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "5w", "99999999999999999999s", "99999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_have_a_number_and_a_unit() {
        assert_eq!(rate("1Gbit/s").map(NonZeroU64::get), Ok(125_000_000));
        for text in ["1Gbit/s", "100Mbit/s", "9kbit/s", "7B/s"] {
            assert_eq!(print_rate(rate(text).unwrap()), text);
        }
        assert_eq!(print_rate(rate("50MB/s").unwrap()), "400Mbit/s");
        for bad in ["", "1", "Gbit/s", "0Mbit/s", "1.5Gbit/s", "1 Gbit/s", "1gbit/s", "99999999999GB/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_one_or_a_short_range() {
        assert_eq!(ports("443"), Ok(vec![443]));
        assert_eq!(ports("23100-23102"), Ok(vec![23_100, 23_101, 23_102]));
        for bad in ["", "x", "70000", "5-4", "1-200", "1-2-3"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
