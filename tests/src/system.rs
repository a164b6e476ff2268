//! The few system calls std does not offer.
//!
//! Most act on a child between `fork` and `exec`, so that the child *is* the program: with `ip netns exec` or `prlimit`
//! as a parent, a kill would reach the wrapper and leave the real program running.
#![allow(
    unsafe_code,
    reason = "namespaces, limits and signals have no safe call in std; each block says why it holds"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
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

/// Waits until one of the descriptors can be read or has been hung up; `None` waits for ever.
pub(crate) fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled =
        descriptors.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout = timeout.map(timespec).transpose()?;
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = libc::nfds_t::try_from(N).map_err(io::Error::other)?;
    // SAFETY: the array and the optional timespec outlive the call; the descriptors are borrowed for its length.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), count, timeout, std::ptr::null()) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(polled.map(|one| one.revents != 0))
}

/// Makes a TAP device in the network namespace of the calling thread; it goes away with the file.
pub(crate) fn tap(device: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = device.bytes().take(libc::IFNAMSIZ - 1); // the last byte stays zero
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one ifreq, which is on our stack.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
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

/// CPU time, user and system, of all children that were waited for.
pub(crate) fn children_cpu_time() -> io::Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage only writes the struct on our stack, which zeros initialise.
    let usage = unsafe {
        checked(libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()))?;
        usage.assume_init()
    };
    let times = [usage.ru_utime, usage.ru_stime].map(|time| {
        let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
        let micros = u64::try_from(time.tv_usec).map_err(io::Error::other)?;
        Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
    });
    times.into_iter().sum()
}

fn timespec(time: Duration) -> io::Result<libc::timespec> {
    let tv_sec = libc::time_t::try_from(time.as_secs()).map_err(io::Error::other)?;
    Ok(libc::timespec { tv_sec, tv_nsec: time.subsec_nanos().into() })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
