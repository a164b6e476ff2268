//! Names that people and devices give, made safe to store, to print and to use in keys.

use super::error::FleetError;
use crate::harmless::harmless;

/// Takes a name an operator chose: 1 to 64 letters, digits, `-`, `_`, `.`, `@` and inner spaces.
///
/// # Errors
/// [`FleetError`] of kind `Invalid` that says what a name is.
pub(super) fn checked(name: &str) -> Result<&str, FleetError> {
    let sound = |c: char| c.is_alphanumeric() || "-_.@ ".contains(c);
    let good =
        (1..=NAME_LIMIT).contains(&name.chars().count()) && name.chars().all(sound) && name.trim() == name;
    match good {
        true => Ok(name),
        false => Err(FleetError::invalid(format!(
            "{name:?} is not a name: 1 to {NAME_LIMIT} letters, digits, '-', '_', '.', '@' and inner spaces"
        ))),
    }
}

/// Takes text a device told about itself: bounded, and whatever could act on a terminal or reader is replaced.
pub(crate) fn told(text: &str) -> String {
    let short: String = text.chars().take(TOLD_LIMIT).collect();
    harmless(&short)
}

/// Longest name, in characters.
const NAME_LIMIT: usize = 64;
/// Longest text kept of a device's own words, in characters.
const TOLD_LIMIT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_nothing_that_acts() {
        for good in ["a", "Zoë Müller", "web-7.example", "anna@example.org"] {
            assert_eq!(checked(good).unwrap(), good);
        }
        for bad in ["", " a", "a ", "a/b", "a\nb", "<b>", "=1+1", "a\u{202e}b", &"x".repeat(65)] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_device_tells_cannot_act_on_a_terminal() {
        assert_eq!(told("pc\u{1b}[2J\u{202e}x\n"), "pc\u{fffd}[2J\u{fffd}x\u{fffd}");
        assert_eq!(told(&"y".repeat(1_000_000)).len(), TOLD_LIMIT);
    }
}
