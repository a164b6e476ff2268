//! SQLite's interface to files, between SQLite and its own implementation of it.
//!
//! Every file object is ours followed in memory by the real one; every call does its bookkeeping, and then the real one's
//! work. Registered once, never removed.
#![allow(
    unsafe_code,
    reason = "SQLite's file interface is a table of C functions; each block says why it holds"
)]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    ptr,
    sync::{Arc, Once},
};

use rusqlite::ffi::{
    self, SQLITE_CANTOPEN, SQLITE_IOERR, SQLITE_IOERR_FSYNC, SQLITE_OK, sqlite3_file, sqlite3_filename,
    sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
};

use super::{
    Disk, NAME, disk_of,
    unsynced::{SECTOR, Unsynced},
};

/// Our part of a file object.
#[repr(C)]
struct Ours {
    base: sqlite3_file,
    /// Leaked by `open`, taken back by `close`; null for a file that is on no disk of ours.
    tracked: *mut Tracked,
}

struct Tracked {
    disk: Arc<Disk>,
    path: PathBuf,
}

/// Makes the disk known to SQLite.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: finding takes no pointer of ours, and the default is never unregistered here.
        let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        // SAFETY: it is a valid table, all of whose members may be copied; functions that are not replaced below get
        // ours as their first argument, which differs from theirs in no member that they read.
        let mut ours = unsafe { *real };
        let name = std::ffi::CString::new(NAME).expect("no zero in it");
        ours.zName = name.into_raw().cast_const();
        ours.pNext = ptr::null_mut();
        ours.szOsFile += c_int::try_from(size_of::<Ours>()).expect("small");
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        // SAFETY: the table is leaked, so it outlives every connection.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) };
        assert_eq!(registered, SQLITE_OK);
    });
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let path = path_of(name);
    let disk = path.as_deref().and_then(disk_of);
    if disk.as_ref().is_some_and(|disk| disk.is_off()) {
        return SQLITE_CANTOPEN;
    }
    let ours = file.cast::<Ours>();
    // SAFETY: SQLite gives memory of szOsFile bytes, which begins with ours and goes on with the real one's.
    let opened = unsafe {
        (*ours).base.pMethods = ptr::null();
        (*ours).tracked = ptr::null_mut();
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        (*vfs).xOpen.expect("every table has it")(vfs, name, real(file), flags, out)
    };
    if opened == SQLITE_OK {
        let tracked = path.zip(disk).map(|(path, disk)| Box::into_raw(Box::new(Tracked { disk, path })));
        // SAFETY: as above; from here on SQLite calls our methods.
        unsafe {
            (*ours).tracked = tracked.unwrap_or(ptr::null_mut());
            (*ours).base.pMethods = &raw const METHODS;
        }
    }
    opened
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    if let Some((path, disk)) = path_of(name).and_then(|path| disk_of(&path).map(|disk| (path, disk))) {
        let Some(mut state) = disk.step() else { return SQLITE_IOERR };
        state.files.remove(&path);
    }
    // SAFETY: the real one's own function with its own table and the name SQLite gave.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        (*vfs).xDelete.expect("every table has it")(vfs, name, sync)
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let ours = file.cast::<Ours>();
    // SAFETY: the pointer was leaked by `open` for this file alone, and SQLite closes a file once.
    unsafe {
        if !(*ours).tracked.is_null() {
            drop(Box::from_raw((*ours).tracked));
            (*ours).tracked = ptr::null_mut();
        }
        (*methods(file)).xClose.expect("every file has it")(real(file))
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: an open file of ours.
    if unsafe { tracked(file) }.is_some_and(|tracked| tracked.disk.is_off()) {
        return SQLITE_IOERR;
    }
    // SAFETY: the real file with the buffer SQLite gave.
    unsafe { (*methods(file)).xRead.expect("every file has it")(real(file), to, length, at) }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: an open file of ours.
    let tracked = unsafe { tracked(file) };
    let _state = match tracked {
        None => None,
        Some(tracked) => {
            let Some(mut state) = tracked.disk.step() else { return SQLITE_IOERR };
            let (offset, length) = (at.unsigned_abs(), u64::from(length.unsigned_abs()));
            let unsynced =
                state.files.entry(tracked.path.clone()).or_insert_with(|| Unsynced::new(size(file)));
            for sector in unsynced.fresh(offset, length) {
                unsynced.remember(sector, sector_of(file, sector));
            }
            unsynced.write(offset, length);
            Some(state)
        }
    };
    // SAFETY: the real file with the buffer SQLite gave.
    unsafe { (*methods(file)).xWrite.expect("every file has it")(real(file), from, length, at) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, to: sqlite3_int64) -> c_int {
    // SAFETY: an open file of ours.
    if let Some(tracked) = unsafe { tracked(file) } {
        let Some(mut state) = tracked.disk.step() else { return SQLITE_IOERR };
        let (from, to) = (to.unsigned_abs(), size(file));
        let unsynced = state.files.entry(tracked.path.clone()).or_insert_with(|| Unsynced::new(to));
        for sector in unsynced.fresh(from, to.saturating_sub(from)) {
            unsynced.remember(sector, sector_of(file, sector));
        }
    }
    // SAFETY: the real file.
    unsafe { (*methods(file)).xTruncate.expect("every file has it")(real(file), to) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: an open file of ours.
    if let Some(tracked) = unsafe { tracked(file) } {
        let Some(mut state) = tracked.disk.step() else { return SQLITE_IOERR };
        // The system's own sync would cost time and give nothing: nobody cuts the power of the machine.
        let (fails, size) = (state.fails_syncs, size(file));
        let unsynced = state.files.entry(tracked.path.clone()).or_insert_with(|| Unsynced::new(size));
        if fails {
            unsynced.fail(size);
            return SQLITE_IOERR_FSYNC;
        }
        unsynced.sync(size);
        return SQLITE_OK;
    }
    // SAFETY: the real file.
    unsafe { (*methods(file)).xSync.expect("every file has it")(real(file), flags) }
}

/// The size of a file now.
fn size(file: *mut sqlite3_file) -> u64 {
    let mut size = 0;
    // SAFETY: the real file, and a number on our stack.
    unsafe { (*methods(file)).xFileSize.expect("every file has it")(real(file), &raw mut size) };
    size.unsigned_abs()
}

/// A whole sector as it is now; what is past the end is zero.
fn sector_of(file: *mut sqlite3_file, sector: u64) -> Vec<u8> {
    let length = SECTOR.min(size(file).saturating_sub(sector * SECTOR));
    let mut content = vec![0_u8; usize::try_from(length).expect("a sector is small")];
    let (amount, at) = (c_int::try_from(length).expect("small"), (sector * SECTOR).cast_signed());
    // SAFETY: the real file, and a buffer of as many bytes.
    unsafe {
        (*methods(file)).xRead.expect("every file has it")(
            real(file),
            content.as_mut_ptr().cast(),
            amount,
            at,
        )
    };
    content
}

fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: null for a temporary file, otherwise a string that SQLite keeps for the length of the call.
    let name = unsafe { (!name.is_null()).then(|| CStr::from_ptr(name)) }?;
    Some(OsStr::from_bytes(name.to_bytes()).into())
}

/// # Safety
/// An open file of ours, for no longer than the call.
unsafe fn tracked<'a>(file: *mut sqlite3_file) -> Option<&'a Tracked> {
    // SAFETY: as the caller says; the pointer is null or was leaked by `open`.
    unsafe { (*file.cast::<Ours>()).tracked.as_ref() }
}

fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // The real file object follows ours in the same memory.
    file.cast::<Ours>().wrapping_add(1).cast()
}

fn methods(file: *mut sqlite3_file) -> *const sqlite3_io_methods {
    // SAFETY: a file that is open has methods.
    unsafe { (*real(file)).pMethods }
}

/// Hands a call through to the real file.
macro_rules! through {
    ($name:ident, $method:ident, ($($argument:ident: $kind:ty),*) -> $result:ty) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) -> $result {
            // SAFETY: the real file with the arguments SQLite gave.
            unsafe { (*methods(file)).$method.expect("every file in use has it")(real(file), $($argument),*) }
        }
    };
}

through!(file_size, xFileSize, (size: *mut sqlite3_int64) -> c_int);
through!(lock, xLock, (level: c_int) -> c_int);
through!(unlock, xUnlock, (level: c_int) -> c_int);
through!(check_lock, xCheckReservedLock, (out: *mut c_int) -> c_int);
through!(control, xFileControl, (operation: c_int, argument: *mut c_void) -> c_int);
through!(sector_size, xSectorSize, () -> c_int);
through!(characteristics, xDeviceCharacteristics, () -> c_int);
through!(shm_map, xShmMap, (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int);
through!(shm_lock, xShmLock, (offset: c_int, count: c_int, flags: c_int) -> c_int);
through!(shm_barrier, xShmBarrier, () -> ());
through!(shm_unmap, xShmUnmap, (delete: c_int) -> c_int);

/// Version 2: without memory mapping.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
