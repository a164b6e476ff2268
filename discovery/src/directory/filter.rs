//! What a directory is asked for, and where the next poll goes on.

use std::fmt;
use std::str::FromStr;

use super::Entry;

/// Until where a directory has been read: what is changed later is read by the next poll alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The highest number of a change, as a domain controller counts them; each counts for itself.
    Change(u64),
    /// The latest time of a change, as other servers note it: YYYYMMDDhhmmss.
    Time(u64),
}

/// Text is no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mark of a directory")]
pub struct MarkError(String);

/// Computers of Active Directory, of RFC 2307 and of FreeIPA, that were changed since a mark.
pub fn filter(since: Option<Mark>) -> String {
    match since {
        None => COMPUTERS.to_owned(),
        Some(Mark::Change(number)) => {
            format!("(&{COMPUTERS}(uSNChanged>={}))", number.saturating_add(1))
        }
        // A second may not have been over: what was changed in it is read twice rather than never.
        Some(Mark::Time(time)) => format!("(&{COMPUTERS}(modifyTimestamp>={time:014}Z))"),
    }
}

impl Mark {
    /// Until where a domain controller has counted, as its root entry says before a search.
    pub fn of_root(root: &Entry) -> Option<Self> {
        root.text("highestcommittedusn")?.parse().ok().map(Self::Change)
    }

    /// When an entry was changed, as servers that are no domain controllers note it.
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        let (digits, _) = entry.text("modifytimestamp")?.split_at_checked(14)?;
        time(digits).map(Self::Time)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(number) => write!(f, "change {number}"),
            Self::Time(time) => write!(f, "time {time:014}"),
        }
    }
}

impl FromStr for Mark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let mark = match text.trim().split_once(' ') {
            Some(("change", number)) => number.parse().ok().map(Self::Change),
            Some(("time", digits)) => time(digits).map(Self::Time),
            _ => None,
        };
        mark.ok_or_else(|| MarkError(text.chars().take(64).collect()))
    }
}

fn time(digits: &str) -> Option<u64> {
    let all = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

const COMPUTERS: &str = "(|(objectClass=computer)(objectClass=ipHost)(objectClass=ipaHost))";

/// The attributes that say anything here.
pub const ATTRIBUTES: [&str; 12] = [
    "objectGUID",
    "entryUUID",
    "ipaUniqueID",
    "dNSHostName",
    "fqdn",
    "sAMAccountName",
    "cn",
    "operatingSystem",
    "operatingSystemVersion",
    "macAddress",
    "uSNChanged",
    "modifyTimestamp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_narrows_the_filter() {
        assert_eq!(filter(None), COMPUTERS);
        assert!(filter(Some(Mark::Change(41))).ends_with("(uSNChanged>=42))"));
        assert!(
            filter(Some(Mark::Time(20_261_126_053_000))).ends_with("(modifyTimestamp>=20261126053000Z))")
        );
    }

    #[test]
    fn nothing_that_a_server_says_can_change_what_a_filter_means() {
        let said = |text: &str| {
            let mut entry = Entry::new("cn=pc-7");
            entry.insert("modifyTimestamp", [text.as_bytes().to_vec()]);
            Mark::of_entry(&entry)
        };
        assert_eq!(said("20261126053000Z"), Some(Mark::Time(20_261_126_053_000)));
        assert_eq!(said("20261126053000.0Z"), Some(Mark::Time(20_261_126_053_000)));
        for text in ["2026112605300)", "2026112605)(cn=*", "", "é0261126053000Z"] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for mark in [Mark::Change(u64::MAX), Mark::Time(20_261_126_053_000)] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        for text in ["", "change", "change x", "time 7", "20261126053000"] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
    }
}
