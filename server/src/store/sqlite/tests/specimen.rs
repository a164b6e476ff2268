//! The SQLite store as the conformance suite takes it: in a folder of its own, on a disk whose power can be cut.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use super::{
    FILE,
    power::{self, Disk, Loss},
};
use crate::store::{
    SqliteStore, Store,
    conformance::{Chance, Durable, Factory, Specimen},
    sqlite::medium::Medium,
};

/// Makes SQLite stores.
pub(super) struct Sqlite(pub(super) Medium);

/// The product's store, on the disk of this test.
pub(super) const SQLITE: Sqlite = Sqlite(ON_DISK);

/// The same without a single sync: what it acknowledges is nowhere.
pub(super) const UNSYNCED: Sqlite = Sqlite(Medium { synchronous: "OFF", ..ON_DISK });

const ON_DISK: Medium = Medium { vfs: Some(power::NAME), reserve: 4096, ..Medium::DISK };

struct Place {
    folder: TempDir,
    disk: Arc<Disk>,
    medium: Medium,
    /// `None` while it is put through something.
    store: Option<Arc<SqliteStore>>,
}

impl Factory for Sqlite {
    fn fresh(&self) -> Box<dyn Specimen> {
        let folder = TempDir::new().expect("a folder for the test");
        let disk = Disk::at(folder.path());
        let mut place = Place { folder, disk, medium: self.0, store: None };
        place.open().expect("an empty folder");
        Box::new(place)
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("it is there").join(FILE)
    }

    fn open(&mut self) -> Result<(), String> {
        let store = SqliteStore::open_on(&self.path(), self.medium).map_err(|error| error.to_string())?;
        self.store = Some(Arc::new(store));
        Ok(())
    }

    fn close(&mut self) {
        let store = self.store.take().expect("it is open");
        drop(Arc::into_inner(store).expect("nobody else holds it"));
    }
}

impl Specimen for Place {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("it is open")) as Arc<dyn Store>
    }

    fn durable(&mut self) -> Option<&mut dyn Durable> {
        Some(self)
    }
}

impl Durable for Place {
    fn reopen(&mut self) {
        self.close();
        self.open().expect("it was closed in order");
    }

    fn cut_power(&mut self) {
        self.disk.cut();
    }

    fn restore_power(&mut self, chance: &mut Chance) -> Result<(), String> {
        // A process without power says nothing when it ends.
        let lock = lock_of(&self.path());
        let said = fs::read(&lock).expect("it is open");
        self.close();
        fs::write(&lock, said).expect("the folder is ours");
        self.disk.restore(Loss::Unsynced, chance);
        self.open()
    }

    fn damaged_copy(&mut self, chance: &mut Chance) -> Result<Box<dyn Specimen>, String> {
        // As it lies there while nobody writes: what a killed server leaves, WAL and all.
        let folder = TempDir::new().expect("a folder for the test");
        let disk = Disk::at(folder.path());
        let names = [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}.lock")];
        for name in &names {
            fs::copy(self.folder.path().join(name), folder.path().join(name)).expect("it is there");
        }
        damage(&folder.path().join(chance.of(&names[..2])), chance);
        let mut copy = Place { folder, disk, medium: self.medium, store: None };
        copy.open()?;
        Ok(Box::new(copy))
    }
}

/// Flips a bit, or cuts the file off somewhere.
fn damage(path: &Path, chance: &mut Chance) {
    let mut bytes = fs::read(path).expect("it was copied");
    let place = usize::try_from(chance.below(bytes.len() as u64)).expect("a place in it");
    match chance.one_in(8) {
        true => bytes.truncate(place),
        false => bytes[place] ^= 1 << chance.below(8),
    }
    fs::write(path, bytes).expect("the folder is ours");
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
