//! Opens a feed as it was fetched: plain, packed with gzip, or a zip archive of one list.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::archived::is_plain_name;
use super::error::{FeedError, Reason};
use super::format::Format;
use super::intake::Intake;
use super::progress::{Counted, Progress};
use super::unpacked::{Unpacked, bomb};

/// Reads a feed from a file into `intake`.
///
/// # Errors
/// [`FeedError`]; then what is in the intake means nothing.
pub fn read_file(
    format: Format,
    path: &Path,
    intake: &mut Intake,
    progress: Progress<'_>,
) -> Result<(), FeedError> {
    if format == Format::Nsrl {
        return super::nsrl::read(path, intake, progress);
    }
    let file = File::open(path).map_err(FeedError::Read)?;
    let length = file.metadata().map_err(FeedError::Read)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    read_input(format, &name, Counted::new(file, progress), length, intake)
}

/// Reads a feed from memory; `name` is that of its file, whose extension some formats need.
///
/// # Errors
/// [`FeedError`]; a format that is a database cannot be read so.
pub fn read_bytes(format: Format, name: &str, bytes: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
    read_input(format, name, Cursor::new(bytes), bytes.len() as u64, intake)
}

fn read_input(
    format: Format,
    name: &str,
    mut input: impl Read + Seek,
    length: u64,
    intake: &mut Intake,
) -> Result<(), FeedError> {
    let mut magic = [0; 4];
    let begun = input.read(&mut magic).map_err(FeedError::Read)?;
    input.seek(SeekFrom::Start(0)).map_err(FeedError::Read)?;
    let read = match &magic[..begun] {
        b"PK\x03\x04" => zipped(format, input, intake),
        [0x1f, 0x8b, ..] => {
            let name = name.strip_suffix(".gz").unwrap_or(name);
            format.read(name, Unpacked::new(flate2::read::MultiGzDecoder::new(input), length), length, intake)
        }
        _ => format.read(name, input, length, intake),
    };
    read.map_err(|error| match error {
        FeedError::Read(error) => bomb(&error).map_or(FeedError::Read(error), FeedError::Whole),
        error => error,
    })
}

/// Each file of the archive is a list; names are looked at and lead nowhere.
fn zipped(format: Format, input: impl Read + Seek, intake: &mut Intake) -> Result<(), FeedError> {
    let damaged = |error: zip::result::ZipError| FeedError::Read(io::Error::other(error));
    let mut archive = zip::ZipArchive::new(input).map_err(damaged)?;
    if archive.len() > LISTS_MOST {
        return Err(Reason::Structure(format!("more than {LISTS_MOST} files")).into());
    }
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(damaged)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if !is_plain_name(name.as_bytes()) || entry.is_dir() || entry.is_symlink() {
            return Err(Reason::Name(name.as_bytes().into()).into());
        }
        let packed = entry.compressed_size();
        format.read(&name, Unpacked::new(entry, packed), packed, intake)?;
    }
    Ok(())
}

/// The archives of publishers have one list each.
const LISTS_MOST: usize = 1000;
