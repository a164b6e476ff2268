//! SSLBL: certificates that malware uses, by the SHA-1 of their DER bytes.
//!
//! `Listingdate,SHA1,Listingreason` without quotes; the reason may have commas. The list of JA3 fingerprints
//! (`ja3_md5,Firstseen,Lastseen,Listingreason`) is known, and left out: a handshake is nothing that is asked about.

use std::io::Read;

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use super::stamp;
use crate::subject::{Digest, Subject};
use crate::verdict::Category;

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut lines = Lines::new(input);
    while let Some((number, line)) = lines.next()? {
        if !line.is_empty() && !line.starts_with(b"#") {
            row(number, line, intake)?;
        }
    }
    Ok(())
}

fn row(number: u64, line: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
    let mut cells = line.splitn(3, |byte| *byte == b',');
    let (Some(listed), Some(hash), Some(why)) = (cells.next(), cells.next(), cells.next()) else {
        let found = line.split(|byte| *byte == b',').count();
        return Err(Reason::Columns { found, least: 3 }.at(number));
    };
    if matches!(Digest::parse(listed), Ok(Digest::Md5(_))) && stamp::parse(hash).is_some() {
        intake.leave_out("fingerprints of handshakes, which no query asks for", number);
        return Ok(());
    }
    let time = stamp::parse(listed).ok_or_else(|| Reason::Time(listed.into()).at(number))?;
    let Ok(digest @ Digest::Sha1(_)) = Digest::parse(hash) else {
        return Err(Reason::Hash(hash.into()).at(number));
    };
    let is_control = memchr::memmem::find(why, b"C&C").is_some();
    let category = if is_control { Category::CommandAndControl } else { Category::BadCertificate };
    intake.take(Subject::Certificate(digest), Says::malicious(category, CONFIDENCE).at(Some(time)))
}

const CONFIDENCE: u8 = 90;
