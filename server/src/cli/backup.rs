//! `klserver backup` and `klserver restore`: the store as one file, and a store of such a file.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::Args;
use tempfile::NamedTempFile;

use super::Configured;
use crate::fabric::Fabric;
use crate::fleet::restore::{Restored, restore};
use crate::service::store_path;
use crate::store::export::{Decoder, import};
use crate::store::sqlite::{backup, replace};
use crate::store::{OpenError, SqliteStore, Store};

#[derive(Debug, Args)]
#[command(after_help = BACKUP)]
pub(super) struct Backup {
    /// Where to write it; must not be there
    file: PathBuf,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Debug, Args)]
#[command(after_help = RESTORE)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Put it in the place of the store there is
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    configured: Configured,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.configured.read()?;
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Readable by its owner only, and under its name only once it is whole.
        let file = NamedTempFile::new_in(folder).with_context(|| format!("{}", folder.display()))?;
        let written = backup(&store_path(&config.state), BufWriter::new(&file))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&self.file).with_context(|| format!("{}", self.file.display()))?;
        File::open(folder)?.sync_all()?;
        let (entries, at) = (written.entries, written.header.at);
        println!("{entries} entries at revision {at} are in {}", self.file.display());
        Ok(())
    }
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // The backup may be where only root reads.
        let backup = File::open(&self.file).with_context(|| format!("{}", self.file.display()))?;
        let config = self.configured.clone().read_as_owner()?;
        let fabric = Fabric::load(&config.state)?;
        let path = store_path(&config.state);
        let old = self.old(&path)?;
        let new = path.with_extension("restoring");
        discard(&new)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let restored = runtime.block_on(async {
            let store = SqliteStore::open(&new)?;
            let restored = fill(&store, old.as_ref(), &fabric, &backup)
                .await
                .with_context(|| format!("{}", self.file.display()));
            store.close().await;
            if let Some(old) = &old {
                old.close().await;
            }
            restored
        });
        let (entries, restored) = restored.inspect_err(|_| drop(discard(&new)))?;
        replace(&path, &new)?;
        tell(&path, entries, restored);
        Ok(())
    }

    /// The store whose place is taken, if there is one that can be read.
    fn old(&self, path: &Path) -> anyhow::Result<Option<SqliteStore>> {
        if !path.exists() {
            return Ok(None);
        }
        if !self.replace {
            bail!("{} is there already; --replace puts the backup in its place", path.display());
        }
        match SqliteStore::open(path) {
            Ok(old) => Ok(Some(old)),
            Err(error @ OpenError::Locked { .. }) => Err(error.into()),
            Err(error) => {
                eprintln!("klserver: {error}: whom it has revoked since the backup is not known");
                Ok(None)
            }
        }
    }
}

async fn fill(
    store: &SqliteStore,
    old: Option<&SqliteStore>,
    fabric: &Fabric,
    mut file: &File,
) -> anyhow::Result<(u64, Restored)> {
    let made = file.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let header = Decoder::new(BufReader::new(file))?.header();
    file.rewind()?;
    let entries = import(BufReader::new(file), store).await?;
    let details = [
        ("backup of", header.incarnation.to_string()),
        ("at revision", header.at.to_string()),
        ("written", crate::unix::seconds(made).to_string()),
        ("entries", entries.to_string()),
    ];
    let old = old.map(|old| old as &dyn Store);
    Ok((entries, restore(store, old, fabric.tenant(), &details).await?))
}

fn tell(path: &Path, entries: u64, restored: Restored) {
    let Restored { tokens, invitations, grants, revocations } = restored;
    println!("{entries} entries are in {}, a new history.", path.display());
    println!("Void: {tokens} enrolment tokens, {invitations} invitations, {grants} open grants.");
    match revocations {
        Some(revocations) => println!("Stay revoked, as in the store that was replaced: {revocations}."),
        None => println!("There was no store to say who was revoked since the backup: revoke them again."),
    }
}

/// Removes what an interrupted restore has left.
fn discard(path: &Path) -> std::io::Result<()> {
    for what in ["", "-wal", "-shm", ".lock", ".reserve"] {
        let mut name = path.as_os_str().to_owned();
        name.push(what);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

const BACKUP: &str = "\
Works beside a running server, which goes on undisturbed, and without one. The file holds the store: devices, groups,
operators, audit log. It holds no key: copy everything in the state folder but state.db* once, to a place of its own,
and again after a rotation.

Example:
  klserver backup /backup/klnet-$(date +%F)";

const RESTORE: &str = "\
The server must be stopped, and the state folder must hold the keys the backup was made under. Enrolment tokens and
invitations are void afterwards. Whom the replaced store has revoked since stays revoked; it is kept as
state.db.replaced. Devices that enrolled after the backup must be enrolled again.

Example:
  klserver restore --replace /backup/klnet-2026-11-24";
