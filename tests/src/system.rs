//! The few system calls std does not offer.
//!
//! They act on a child between `fork` and `exec`, so that the child *is* the program: with `ip netns exec` or `prlimit`
//! as a parent, a kill would reach the wrapper and leave the real program running.
#![allow(
    unsafe_code,
    reason = "namespaces, limits and signals have no safe call in std; each block says why it holds"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Makes `command` start inside the network namespace behind `namespace`.
pub(crate) fn start_inside(command: &mut Command, namespace: Arc<File>) {
    let enter = move || enter(&namespace);
    // SAFETY: the closure only calls setns, which is async-signal-safe, on a descriptor it keeps open itself.
    unsafe { command.pre_exec(enter) };
}

/// Moves the calling thread, and no other, into the network namespace behind `namespace`.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; setns touches no memory of ours.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Makes `command` start with at most `limit` open descriptors, soft and hard.
pub(crate) fn start_with_descriptors(command: &mut Command, limit: u64) {
    let lower = move || {
        let both = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: setrlimit is async-signal-safe and only reads the struct on our stack.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const both) })
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(lower) };
}

/// Sends `signal` to the process `pid`.
pub(crate) fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    if pid <= 1 {
        return Err(io::Error::other("refusing to signal process 0 or 1"));
    }
    // SAFETY: kill takes two integers; a pid above 1 names one process, never a group.
    checked(unsafe { libc::kill(pid, signal) })
}

/// CPU time, user and system, of all threads this process has had.
pub(crate) fn own_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime only writes the struct on our stack.
    checked(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanoseconds = u64::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
