//! Times as feeds write them, in seconds of Unix time.

/// Reads `YYYY-MM-DD`, and `hh:mm:ss` after a blank or `T` where there is one; what follows is left alone. UTC.
pub(super) fn parse(text: &[u8]) -> Option<u32> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, rest @ ..] = text else { return None };
    let year = i32::try_from(number(&[*y0, *y1, *y2, *y3])?).ok()?;
    let month = u8::try_from(number(&[*m0, *m1])?).ok()?;
    let day = u8::try_from(number(&[*d0, *d1])?).ok()?;
    let date = time::Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()?;
    let seconds = match rest {
        [] => 0,
        [b' ' | b'T', h0, h1, b':', n0, n1, b':', s0, s1, ..] => {
            let (hour, minute, second) = (number(&[*h0, *h1])?, number(&[*n0, *n1])?, number(&[*s0, *s1])?);
            (hour < 24 && minute < 60 && second < 61).then_some(hour * 3600 + minute * 60 + second)?
        }
        _ => return None,
    };
    u32::try_from(date.midnight().assume_utc().unix_timestamp()).ok()?.checked_add(seconds)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_feeds_are_read() {
        assert_eq!(parse(b"1970-01-01 00:00:00"), Some(0));
        assert_eq!(parse(b"2024-09-02 06:17:52"), Some(1_725_257_872));
        assert_eq!(parse(b"2024-09-02T06:17:52.000Z"), Some(1_725_257_872));
        assert_eq!(parse(b"2024-02-29"), Some(1_709_164_800));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2023-02-29",
            "2024-13-01",
            "1969-12-31",
            "2024-01-01 24:00:00",
            "2024-01-01 1:00:00",
            "2024-01-01x",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
