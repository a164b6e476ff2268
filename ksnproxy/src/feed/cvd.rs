//! ClamAV's container: a head of 512 bytes, then a tar archive, packed with gzip or not.
//!
//! The head says how many signatures there are and the MD5 of the rest, which tells damage, not who made it: the
//! signature beside it is of a scheme of its own. Whoever imports has to know whence the file came.

use std::io::{self, BufRead, BufReader, Read};

use data_encoding::HEXLOWER;
use md5::{Digest as _, Md5};

use super::archived::is_plain_name;
use super::clamav::Signatures;
use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::unpacked::Unpacked;

/// Reads a container of `packed` bytes.
pub(super) fn read(mut input: impl Read, packed: u64, intake: &mut Intake) -> Result<(), FeedError> {
    let mut head = [0; HEAD];
    input.read_exact(&mut head).map_err(|_| Reason::Head)?;
    let head = Head::parse(&head)?;
    let mut rest = BufReader::with_capacity(64 * 1024, Hashing { input, hash: Md5::new() });
    let gzip = rest.fill_buf().map_err(FeedError::Read)?.starts_with(&[0x1f, 0x8b]);
    if gzip {
        let unpacked = flate2::bufread::GzDecoder::new(&mut rest);
        archive(Unpacked::new(unpacked, packed), intake)?;
    } else {
        archive(&mut rest, intake)?;
    }
    io::copy(&mut rest, &mut io::sink()).map_err(FeedError::Read)?;
    let hash = rest.into_inner().hash.finalize();
    if head.md5.as_deref().is_some_and(|md5| md5 != HEXLOWER.encode(&hash).as_bytes()) {
        return Err(Reason::Checksum.into());
    }
    intake.note(format!("version {} of {}, {} signatures in all", head.version, head.built, head.signatures));
    Ok(())
}

/// `ClamAV-VDB:built:version:signatures:level:md5:signature:builder:stime`, filled up with blanks.
struct Head {
    built: String,
    version: u64,
    signatures: u64,
    /// None in a container that nobody signed.
    md5: Option<Vec<u8>>,
}

impl Head {
    fn parse(head: &[u8; HEAD]) -> Result<Self, Reason> {
        let text = std::str::from_utf8(head).map_err(|_| Reason::Head)?;
        let fields: Vec<&str> = text.trim_end_matches([' ', '\0']).split(':').collect();
        let ["ClamAV-VDB", built, version, signatures, level, md5, ..] = fields[..] else {
            return Err(Reason::Head);
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| Reason::Head);
        number(level)?;
        let is_md5 = md5.len() == 32 && md5.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_md5 && md5 != "X" {
            return Err(Reason::Head);
        }
        Ok(Self {
            built: built.to_owned(),
            version: number(version)?,
            signatures: number(signatures)?,
            md5: is_md5.then(|| md5.to_ascii_lowercase().into_bytes()),
        })
    }
}

fn archive(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut archive = tar::Archive::new(input);
    let mut lists = 0;
    for (place, entry) in (1..).zip(archive.entries().map_err(FeedError::Read)?) {
        let entry = entry.map_err(FeedError::Read)?;
        if place > ENTRIES_MOST {
            return Err(Reason::Structure(format!("more than {ENTRIES_MOST} files")).into());
        }
        let name = entry.path_bytes().into_owned();
        if !is_plain_name(&name) || !entry.header().entry_type().is_file() {
            return Err(Reason::Name(name[..].into()).into());
        }
        let Some(signatures) = std::str::from_utf8(&name).ok().and_then(Signatures::of) else { continue };
        signatures.read(entry, intake)?;
        lists += 1;
    }
    if lists == 0 { Err(Reason::NoList.into()) } else { Ok(()) }
}

/// What is read, hashed.
struct Hashing<R> {
    input: R,
    hash: Md5,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

const HEAD: usize = 512;

/// The real ones have about twenty.
const ENTRIES_MOST: u32 = 1000;
