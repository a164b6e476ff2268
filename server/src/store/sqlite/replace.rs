//! Putting one store in the place of another.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{OpenError, error::failed, lock::Lock, medium::Medium, open, receipt::head};

/// Puts the store in the file `by`, which is closed, in the place of the one at `path`, which is kept beside it with
/// `.replaced` behind its name. Whatever moment it is cut off at, `path` is the old store, the new one, or refused.
///
/// # Errors
/// [`OpenError`]: another process has the store, or the file system refuses.
pub fn replace(path: &Path, by: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.into(), source };
    let (mut lock, _) = Lock::take(path)?;
    let newest = {
        let db = open::reader(by, Medium::DISK).map_err(|source| failed(by, source))?;
        head(&db).map_err(|source| failed(by, source))?
    };
    set_aside(path).map_err(io)?;
    fs::rename(by, path).map_err(io)?;
    lock.begin(newest).map_err(io)?;
    remove_beside(by).map_err(io)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(io)?;
    lock.release();
    Ok(())
}

/// Keeps the old database under another name, with its WAL, which must not meet the new one.
fn set_aside(path: &Path) -> io::Result<()> {
    let kept = beside(path, ".replaced");
    absent(fs::remove_file(&kept))?;
    absent(fs::hard_link(path, &kept))?;
    absent(fs::rename(beside(path, "-wal"), beside(&kept, "-wal")))?;
    absent(fs::remove_file(beside(path, "-shm")))
}

fn remove_beside(path: &Path) -> io::Result<()> {
    [".lock", ".reserve", "-wal", "-shm"]
        .iter()
        .try_for_each(|what| absent(fs::remove_file(beside(path, what))))
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(what);
    name.into()
}

fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
