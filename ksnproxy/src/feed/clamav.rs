//! Hash signatures of ClamAV: `HASH:SIZE:NAME[:MINIMUM[:MAXIMUM]]`, and with size first for sections of PE files.
//!
//! The name ends in no claim: it says which family, which a verdict does not. `.crb` lists names of certificates rather
//! than certificates, which no query asks for; its lines are checked and counted.

use std::io::Read;

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use crate::subject::{Digest, Subject};
use crate::verdict::Category;

/// A kind of signature file, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signatures {
    /// `.hdb`, `.hsb`: files.
    Files,
    /// `.mdb`, `.msb`: sections of PE files.
    Sections,
    /// `.fp`, `.sfp`: files that are no malware.
    Allowed,
    /// `.crb`: names of certificates that are trusted or not.
    Certificates,
}

impl Signatures {
    /// By the extension of a file's name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "hdb" | "hsb" | "hdu" | "hsu" => Some(Self::Files),
            "mdb" | "msb" | "mdu" | "msu" => Some(Self::Sections),
            "fp" | "sfp" => Some(Self::Allowed),
            "crb" => Some(Self::Certificates),
            _ => None,
        }
    }

    /// Reads a file of this kind.
    pub(super) fn read(self, input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
        let mut lines = Lines::new(input);
        while let Some((number, line)) = lines.next()? {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match self {
                Self::Certificates => certificate(number, line, intake)?,
                _ => self.signature(number, line, intake)?,
            }
        }
        Ok(())
    }

    fn signature(self, number: u64, line: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(first), Some(second), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            let found = line.split(|byte| *byte == b':').count();
            return Err(Reason::Columns { found, least: 3 }.at(number));
        };
        let (hash, size) = if self == Self::Sections { (second, first) } else { (first, second) };
        let digest = Digest::parse(hash).map_err(|_| Reason::Hash(hash.into()).at(number))?;
        if name.is_empty() {
            return Err(Reason::Word(name.into()).at(number));
        }
        let level = fields.next().map(|level| decimal(level, number)).transpose()?;
        fields.next().map(|level| decimal(level, number)).transpose()?;
        if fields.next().is_some() {
            return Err(Reason::Columns { found: 6, least: 3 }.at(number));
        }
        let size = match size {
            b"*" if level.is_some_and(|level| level >= WILDCARD_LEVEL) => None,
            b"*" => return Err(Reason::Wildcard.at(number)),
            size => Some(decimal(size, number)?),
        };
        let malicious = Says::malicious(Category::Malware, SIGNATURE_CONFIDENCE);
        match self {
            Self::Sections => intake.take(Subject::Section(digest, size), malicious),
            Self::Allowed => intake.take(Subject::File(digest, size), Says::clean(Category::None, 100)),
            _ => intake.take(Subject::File(digest, size), malicious),
        }
    }
}

/// `Name;Trusted;Subject;Serial;Pubkey;Exponent;CodeSign;TimeSign;CertSign;NotBefore;Comment[;minFL[;maxFL]]`.
fn certificate(number: u64, line: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
    let found = line.split(|byte| *byte == b';').count();
    if found < 11 {
        return Err(Reason::Columns { found, least: 11 }.at(number));
    }
    let mut fields = line.split(|byte| *byte == b';').skip(1);
    let trusted = fields.next().unwrap_or_default();
    let subject = fields.next().unwrap_or_default();
    if !matches!(trusted, b"0" | b"1") {
        return Err(Reason::Word(trusted.into()).at(number));
    }
    if !matches!(Digest::parse(subject), Ok(Digest::Sha1(_))) {
        return Err(Reason::Hash(subject.into()).at(number));
    }
    intake.leave_out(CERTIFICATE_NAMES, number);
    Ok(())
}

fn decimal(text: &[u8], line: u64) -> Result<u64, FeedError> {
    let digits = std::str::from_utf8(text).ok().filter(|_| text.iter().all(u8::is_ascii_digit));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| Reason::Number(text.into()).at(line))
}

/// A false positive of a signature is corrected by an allow list, of 100.
const SIGNATURE_CONFIDENCE: u8 = 90;

/// Engines below this level take `*` for a damaged size (ClamAV's manual on hash signatures).
const WILDCARD_LEVEL: u64 = 73;

pub(super) const CERTIFICATE_NAMES: &str = "names of certificates, which no query asks for";
