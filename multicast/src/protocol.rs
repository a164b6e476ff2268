//! The specification and the code say the same numbers.

use crate::{announcement, feedback, layout, manifest, mark, path, receiver, sender, tags};

#[test]
fn every_limit_in_the_specification_is_the_one_in_the_code() {
    let rows = [
        ("`layout::CATALOGUE_LIMIT`", layout::CATALOGUE_LIMIT.to_string()),
        ("`layout::PARITY_LEAST`", layout::PARITY_LEAST.to_string()),
        ("`layout::PARITY_MOST`", layout::PARITY_MOST.to_string()),
        ("`layout::SYMBOL_LEAST`", layout::SYMBOL_LEAST.to_string()),
        ("`layout::SYMBOL_MOST`", layout::SYMBOL_MOST.to_string()),
        ("`layout::SYMBOL_USUAL`", layout::SYMBOL_USUAL.to_string()),
        ("`manifest::NAME_LIMIT`", manifest::NAME_LIMIT.to_string()),
        ("`path::PATH_LIMIT`", path::PATH_LIMIT.to_string()),
        ("`announcement::INLINE_LIMIT`", announcement::INLINE_LIMIT.to_string()),
        ("`announcement::DEMOTED_LIMIT`", announcement::DEMOTED_LIMIT.to_string()),
        ("`mark::ENTRIES_LIMIT`", mark::ENTRIES_LIMIT.to_string()),
        ("`feedback::LABEL_LIMIT`", feedback::LABEL_LIMIT.to_string()),
        ("`feedback::DEFICITS_LIMIT`", feedback::DEFICITS_LIMIT.to_string()),
        ("`tags::TAGS_LIMIT`", tags::TAGS_LIMIT.to_string()),
        ("`sender::GRTT_LEAST`", format!("{:?}", sender::GRTT_LEAST)),
        ("`sender::GRTT_MOST`", format!("{:?}", sender::GRTT_MOST)),
        ("`sender::MEMBERS_LIMIT`", sender::MEMBERS_LIMIT.to_string()),
        ("`sender::STRIKES`", sender::STRIKES.to_string()),
        ("`sender::STUCK`", format!("{:?}", sender::STUCK)),
        ("`receiver::BACKOFF`", receiver::BACKOFF.to_string()),
        ("`receiver::WINDOW`", receiver::WINDOW.to_string()),
        #[cfg(feature = "net")]
        ("`net::VERIFY_BUDGET`", crate::net::VERIFY_BUDGET.to_string()),
        #[cfg(feature = "net")]
        ("`net::TAG_BUDGET`", crate::net::TAG_BUDGET.to_string()),
        #[cfg(feature = "net")]
        ("`net::SESSIONS_LIMIT`", crate::net::SESSIONS_LIMIT.to_string()),
    ];
    for (name, value) in rows {
        let row = format!("| {name} | {value} |");
        assert!(SPECIFICATION.contains(&row), "{row}");
    }
}

const SPECIFICATION: &str = include_str!("../PROTOCOL.md");
