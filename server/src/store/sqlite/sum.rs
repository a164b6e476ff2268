//! The checksum of a row: eight bytes of SHA-256 over all that the row says, its place included.
//!
//! SQLite notices a page that is not one. It does not notice a bit that flipped within a value, or a row that another
//! row's bytes have taken the place of; this does. What is not there at all is noticed elsewhere: see `open` and `lock`.

use ring::digest;

use super::damage::Damage;

/// Sums parts, each with its length, so that no two rows share an encoding; `table` keeps rows of two tables apart.
pub(super) fn of(table: &str, parts: &[Option<&[u8]>]) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(table.as_bytes());
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        context.update(&length.to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    i64::from_be_bytes(first)
}

/// Takes a row only as it was written.
pub(super) fn check(table: &'static str, row: i64, parts: &[Option<&[u8]>], sum: i64) -> Result<(), Damage> {
    match of(table, parts) == sum {
        true => Ok(()),
        false => Err(Damage::Sum { table, row }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_tells_apart_what_differs_in_one_part() {
        let rows: [(&str, &[Option<&[u8]>]); 6] = [
            ("log", &[Some(b"ab"), Some(b"c")]),
            ("log", &[Some(b"a"), Some(b"bc")]),
            ("log", &[Some(b"abc"), None]),
            ("log", &[Some(b"abc"), Some(b"")]),
            ("log", &[None, Some(b"abc")]),
            ("lease", &[Some(b"ab"), Some(b"c")]),
        ];
        let sums: Vec<_> = rows.iter().map(|(table, parts)| of(table, parts)).collect();
        for (n, sum) in sums.iter().enumerate() {
            assert!(!sums[n + 1..].contains(sum), "sum {n} repeats");
        }
    }

    #[test]
    fn row_that_changed_is_refused_by_name() {
        let sum = of("log", &[Some(b"value")]);
        assert!(check("log", 7, &[Some(b"value")], sum).is_ok());
        let refused = check("log", 7, &[Some(b"valuE")], sum).expect_err("one bit differs");
        assert_eq!(refused.to_string(), "row 7 of log does not match its checksum");
    }
}
