//! Commands that root runs in a folder of a service's account.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

/// Root becomes the owner of `folder`: in a folder of that account it writes nothing that the account could not, wherever
/// its links may lead, and nothing that the account cannot read. Nothing happens for anyone else, and where there is no
/// such folder. To be called before there is a second thread.
///
/// # Errors
/// What the system says.
pub fn become_owner(folder: &Path) -> io::Result<()> {
    let Ok(owner) = std::fs::metadata(folder) else { return Ok(()) };
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let group = Gid::from_raw(owner.gid());
    set_thread_groups(&[group])?;
    set_thread_gid(group)?;
    Ok(set_thread_uid(Uid::from_raw(owner.uid()))?)
}
