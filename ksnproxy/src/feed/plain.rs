//! Lists of one thing a line: names, addresses, networks, URLs and hashes; hosts files; `||name^`; `rank,name`.

use std::io::Read;

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use super::shape;
use crate::verdict::Category;

/// What a list of bad things says.
pub(super) const BLOCKED: Says = Says::malicious(Category::None, CONFIDENCE);

/// What a list of good things says.
pub(super) const ALLOWED: Says = Says::clean(Category::Popular, CONFIDENCE);

pub(super) fn read(input: impl Read, says: Says, intake: &mut Intake) -> Result<(), FeedError> {
    let mut lines = Lines::new(input);
    while let Some((number, line)) = lines.next()? {
        let line = without_comment(line);
        if line.is_empty() {
            continue;
        }
        for entry in entries(line) {
            if let Some(name) = entry.strip_prefix(b"||") {
                let name = name.strip_suffix(b"^").unwrap_or(name);
                take(name, number, says, intake)?;
                take(&[b"*.", name].concat(), number, says, intake)?;
            } else if !LOCAL.contains(&entry) {
                take(entry, number, says, intake)?;
            }
        }
    }
    Ok(())
}

fn take(entry: &[u8], line: u64, says: Says, intake: &mut Intake) -> Result<(), FeedError> {
    let subject = shape::subject(entry).ok_or_else(|| Reason::Subject(entry.into()).at(line))?;
    intake.take(subject, says)
}

/// What a line names: in a hosts file everything after the address, in a ranking what follows the rank.
fn entries(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ranked = memchr::memchr(b',', line).filter(|comma| line[..*comma].iter().all(u8::is_ascii_digit));
    let line = ranked.map_or(line, |comma| &line[comma + 1..]);
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    let several = words.clone().nth(1).is_some();
    if several && words.peek().is_some_and(|word| shape::network(word).is_some()) {
        words.next();
    }
    words
}

/// `#` and `;` begin a comment at the begin of a line or after a blank, as a URL may have either; so does `!`, at the
/// begin.
fn without_comment(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    if line.starts_with(b"!") || line.starts_with(b"[Adblock") {
        return b"";
    }
    let marks = memchr::memchr2_iter(b'#', b';', line);
    let mut begin = marks.filter(|mark| *mark == 0 || line[mark - 1].is_ascii_whitespace());
    begin.next().map_or(line, |mark| line[..mark].trim_ascii_end())
}

/// What a hosts file has for its own machine.
const LOCAL: [&[u8]; 8] = [
    b"localhost",
    b"localhost.localdomain",
    b"local",
    b"broadcasthost",
    b"ip6-localhost",
    b"ip6-loopback",
    b"ip6-allnodes",
    b"ip6-allrouters",
];

const CONFIDENCE: u8 = 80;
