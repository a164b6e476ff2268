//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads `500ms`, `90s`, `15min`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "min" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "d" => Duration::from_hours(24),
        _ => return Err(format!("{text:?} is no duration such as 500ms, 90s, 15min, 24h or 7d")),
    };
    unit.checked_mul(number).ok_or_else(|| format!("{text:?} is too long"))
}

/// Says `45 s`, `15 min`, `24 h`, `6 days`: in the largest unit of which there are two, rounded down.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Reads `64MiB`, `2GiB`, `512KiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("{text:?} is no size such as 512KiB, 64MiB or 2GiB")),
    };
    usize::try_from(u64::from(number) << shift).map_err(|_| format!("{text:?} is too much"))
}

fn split(text: &str) -> Result<(u32, &str), String> {
    let digits = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    Ok((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("500 ms"), Ok(Duration::from_millis(500)));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        for text in ["", "5", "h", "-1s", "1.5h", "5m", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "5", "5MB", "MiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_said_in_the_largest_unit_that_fits() {
        let spoken = |seconds| spoken(Duration::from_secs(seconds));
        let said = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 533_200].map(spoken);
        assert_eq!(said, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days", "6 days"]);
    }
}
