//! Characters that act on a terminal or make text read as something else.

/// Whether a character acts: control characters, and directional and invisible ones (Unicode Technical Report 36).
pub(crate) fn acts(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || hidden
}

/// The text with every such character replaced.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
