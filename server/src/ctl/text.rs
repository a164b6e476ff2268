//! Text for people: tables, times, and whatever came from a device or another operator made harmless.

use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::api::types::time;
use crate::harmless::{acts, harmless};

/// The text with everything replaced that could act on a terminal or make it read as something else.
pub fn printable(text: &str) -> String {
    harmless(text)
}

/// JSON on one line, with what [`printable`] would replace written as escapes: the same value, and harmless.
pub(super) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("the API's types have text keys only");
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")))
            }
            false => safe.push(c),
        }
    }
    safe
}

/// A table without lines, folded to the terminal's width.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(head);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| printable(&cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// How long ago: `now`, `3 min ago`, or `in 5 h` for what is to come.
pub(super) fn ago(seconds: u64, now: SystemTime) -> String {
    let then = time(seconds);
    match now.duration_since(then) {
        Ok(passed) if passed < Duration::from_secs(2) => "now".to_owned(),
        Ok(passed) => format!("{} ago", span(passed)),
        // What was just given 24 hours is to end "in 24 h", not "in 23 h".
        Err(ahead) if ahead.duration() > AHEAD_ROUNDED => {
            format!("in {}", span(ahead.duration() + AHEAD_ROUNDED))
        }
        Err(ahead) => format!("in {}", span(ahead.duration())),
    }
}

/// A duration in its largest whole unit.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A count of bytes in binary units.
pub(super) fn bytes(count: u64) -> String {
    let (mut unit, mut rest, mut scale) = ("B", count, 1_u64);
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if rest < 10 * 1024 {
            break;
        }
        (unit, rest, scale) = (next, rest / 1024, scale * 1024);
    }
    format!("{} {unit}", count / scale)
}

/// A round trip in milliseconds, with a tenth where that says more; `-` when it is not known.
pub(super) fn round_trip(micros: Option<u64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros @ 0..10_000) => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        Some(micros) => format!("{} ms", micros / 1000),
    }
}

/// A moment as `2026-11-23 15:04:05Z`.
pub(super) fn moment(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|at| ::time::OffsetDateTime::from_unix_timestamp(at).ok());
    let at = at.unwrap_or(::time::OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}Z")
}

/// By how much a time that is well ahead may be shown later than it is.
const AHEAD_ROUNDED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_acts_on_a_terminal() {
        for code in (0..=0x1f).chain(0x7f..=0x9f).chain([0x200b, 0x202e, 0x2066, 0xfeff, 0xe0041]) {
            let hostile = format!("a{}b", char::from_u32(code).unwrap());
            assert_eq!(printable(&hostile), "a\u{fffd}b", "{code:#x}");
            let json = json(&hostile);
            assert!(!json.chars().any(acts), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
            assert!(!table(["x"], [[hostile]]).replace('\n', "").chars().any(acts), "{code:#x}");
        }
        assert_eq!(printable("Zoë 東京 =1+1 <b>"), "Zoë 東京 =1+1 <b>");
    }

    #[test]
    fn times_read_as_people_say_them() {
        let now = time(1_000_000);
        let said = [
            (1_000_000, "now"),
            (999_990, "10 s ago"),
            (999_820, "3 min ago"),
            (1_017_990, "in 5 h"),
            (1_000_050, "in 50 s"),
        ];
        for (then, text) in said {
            assert_eq!(ago(then, now), text);
        }
        assert_eq!(moment(1_790_000_000), "2026-09-21 14:13:20Z");
    }

    #[test]
    fn bytes_have_few_digits() {
        let said = [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (5 << 30, "5120 MiB"),
            (u64::MAX, "16777215 TiB"),
        ];
        for (count, text) in said {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn a_table_has_no_lines_and_no_trailing_space() {
        let text =
            table(["NAME", "STATE"], [["web-7".into(), "online".into()], ["db".into(), "offline".into()]]);
        assert_eq!(text, "NAME   STATE\nweb-7  online\ndb     offline");
    }
}
