//! What the kernel dropped because a socket's buffer was full.

use std::os::fd::AsFd;

/// Packets the socket dropped so far; 0 where the kernel does not say.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // no crate at hand reads SO_MEMINFO
pub(super) fn drops(socket: &impl AsFd) -> u32 {
    use std::os::fd::AsRawFd;
    let mut info = [0_u32; MEMINFO];
    let mut length = u32::try_from(size_of_val(&info)).expect("a few words");
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer == 0 { info[DROPS] } else { 0 }
}

/// Packets the socket dropped so far; 0 where the kernel does not say.
#[cfg(not(target_os = "linux"))]
pub(super) fn drops(_: &impl AsFd) -> u32 {
    0
}

/// Words of SO_MEMINFO (linux/sock_diag.h): SK_MEMINFO_VARS, and SK_MEMINFO_DROPS among them.
#[cfg(target_os = "linux")]
const MEMINFO: usize = 9;
#[cfg(target_os = "linux")]
const DROPS: usize = 8;
