//! A blob that comes on standard input.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use super::failure::Failure;
use super::target::{Target, TargetError};

/// Takes the blob off standard input, if that is where it comes from.
///
/// # Errors
/// When there is none.
pub(super) fn or_read(target: Target) -> Result<Target, Failure> {
    if target != Target::StandardInput {
        return Ok(target);
    }
    // Not by `Stdin`, which reads ahead: what follows the blob belongs to the command that is run.
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(Failure::Input)?;
    let line = read_line(&mut File::from(input)).map_err(Failure::Input)?;
    Ok(Target::Blob(Box::new(line.parse().map_err(TargetError::Blob)?)))
}

/// Reads a line and not a byte more.
fn read_line(input: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    #[allow(clippy::unbuffered_bytes, reason = "a buffer would take what follows the line")]
    for byte in input.take(LINE_LIMIT).bytes() {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    // Bytes that are no text are no blob either.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Longest line that may hold a blob, in bytes.
const LINE_LIMIT: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_blobs_line_is_left_for_the_command() {
        let mut input = &b"klt1.CpoB\nSELECT 1;\n"[..];
        assert_eq!(read_line(&mut input).unwrap(), "klt1.CpoB");
        assert_eq!(input, b"SELECT 1;\n");
        assert_eq!(read_line(&mut &b"without an end"[..]).unwrap(), "without an end");
        assert_eq!(read_line(&mut io::repeat(b'x')).unwrap().len(), 8192);
    }
}
