//! How numbers are shown.

use std::time::Duration;

/// Seconds with one digit, milliseconds below.
pub(super) fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Bits a second of so many bytes in a time.
pub(super) fn rate(bytes: u64, time: Duration) -> String {
    bits(crate::loss::whole_f64(bytes) * 8.0 / time.as_secs_f64().max(1e-6))
}

/// Bits a second.
pub(super) fn bits(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} Gbit/s", rate / 1e9),
        rate => format!("{:.0} Mbit/s", rate / 1e6),
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
