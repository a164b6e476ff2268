//! The kinds of polls, and how often each is made.

use std::str::FromStr;
use std::time::Duration;

/// A kind of poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every address of the ranges, and the names of who answers.
    Range,
    /// NetBIOS names.
    Windows,
    /// Names and builds by SMB of every host that is known.
    Full,
    /// What is announced on the link.
    Zeroconf,
    /// The computers of a directory.
    Directory,
}

/// A kind of poll and how often it is made; never, where there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Kind, pub(super) Option<Duration>);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not such as range=8h, windows=15m, full=90s or zeroconf=never");
        let (kind, time) = text.split_once('=').ok_or_else(wrong)?;
        let kind = KINDS.into_iter().find(|known| known.word() == kind).ok_or_else(wrong)?;
        if time == "never" {
            return Ok(Self(kind, None));
        }
        let (number, unit) = time.split_at_checked(time.len().saturating_sub(1)).ok_or_else(wrong)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        match u64::from(number) * unit {
            0 => Err(wrong()),
            seconds => Ok(Self(kind, Some(Duration::from_secs(seconds)))),
        }
    }
}

impl Kind {
    /// Its name on the command line.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Windows => "windows",
            Self::Full => "full",
            Self::Zeroconf => "zeroconf",
            Self::Directory => "directory",
        }
    }
}

/// Who is there comes first: others ask them.
pub(super) const KINDS: [Kind; 5] = [Kind::Range, Kind::Windows, Kind::Full, Kind::Zeroconf, Kind::Directory];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_kind_and_a_time() {
        let read = |text: &str| text.parse::<Interval>();
        assert_eq!(read("range=7h"), Ok(Interval(Kind::Range, Some(Duration::from_secs(7 * 3600)))));
        assert_eq!(read("full=90s"), Ok(Interval(Kind::Full, Some(Duration::from_secs(90)))));
        assert_eq!(read("zeroconf=never"), Ok(Interval(Kind::Zeroconf, None)));
        for text in
            ["range", "range=", "range=0h", "range=7", "range=-1h", "range=7é", "dhcp=7h", "range=1.5h"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
