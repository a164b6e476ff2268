//! Names of files in archives.

/// Whether a file has a name that leads nowhere else, if somebody unpacked it.
pub(super) fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"/\\:".contains(byte);
    !name.is_empty() && name.len() <= 255 && name[0] != b'.' && name.iter().all(plain)
}
