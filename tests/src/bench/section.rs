//! Writing a result into its place in a Markdown document.

/// Puts `body` between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; a document without the two gets a section at
/// its end. Everything else is left as it is, byte for byte.
#[must_use]
pub fn replace_section(document: &str, name: &str, body: &str) -> String {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let section = format!("{open}\n{body}\n{close}");
    if let Some((before, rest)) = document.split_once(&open)
        && let Some((_, after)) = rest.split_once(&close)
    {
        return format!("{before}{section}{after}");
    }
    let gap = if document.is_empty() { "" } else { "\n" };
    format!("{document}{gap}## {name}\n\n{section}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_is_replaced_and_nothing_else() {
        let document = "# All\n<!-- bench:wire -->\nold\n<!-- /bench:wire -->\ntail\n";
        let expected = "# All\n<!-- bench:wire -->\nnew\n<!-- /bench:wire -->\ntail\n";
        assert_eq!(replace_section(document, "wire", "new"), expected);
    }

    #[test]
    fn neighbours_with_a_longer_name_are_left_alone() {
        let document = "<!-- bench:wire-full -->\nkeep\n<!-- /bench:wire-full -->\n";
        let written = replace_section(document, "wire", "new");
        assert!(written.starts_with(document));
        assert!(written.ends_with("## wire\n\n<!-- bench:wire -->\nnew\n<!-- /bench:wire -->\n"));
    }

    #[test]
    fn writing_twice_is_writing_once() {
        let once = replace_section("", "wire", "new");
        assert_eq!(replace_section(&once, "wire", "new"), once);
    }

    #[test]
    fn section_without_an_end_is_not_cut_open() {
        let document = "<!-- bench:wire -->\nmy notes\n";
        assert!(replace_section(document, "wire", "new").starts_with(document));
    }
}
