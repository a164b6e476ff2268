//! Escapes of an address: `%` and two hexadecimal digits.

/// Escapes what is no visible ASCII character, and the two that mean something else.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte <= b' ' || byte >= 0x7f || byte == b'#' || byte == b'%' {
            text.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]);
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

/// Undoes escapes until none is left. Each byte is taken once: as `%` is no hexadecimal digit two escapes never overlap,
/// and so it makes no difference in which order they are undone.
pub(super) fn unescape(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        text.push(byte);
        while let [.., b'%', high, low] = text[..] {
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { break };
            text.truncate(text.len() - 3);
            text.push(high << 4 | low);
        }
    }
    text
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
