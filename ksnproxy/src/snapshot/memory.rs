//! Memory that is read here and there.

#![cfg_attr(
    all(feature = "net", target_os = "linux"),
    allow(unsafe_code, reason = "one system call, which only advises")
)]

/// Zeroed bytes, in large pages where the system has some: most of what a look-up in many small ones waits for is their
/// addresses.
pub(super) fn zeroed(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    prefer_large_pages(&mut bytes);
    bytes
}

#[cfg(all(feature = "net", target_os = "linux"))]
fn prefer_large_pages(bytes: &mut [u8]) {
    use rustix::mm::{Advice, madvise};

    let begin = bytes.as_ptr().align_offset(PAGE);
    let Some(whole) = bytes.get_mut(begin..) else { return };
    let length = whole.len() / PAGE * PAGE;
    // SAFETY: the pages are this slice's alone, and the advice changes nothing that is in them.
    // A system without large pages refuses, and small ones do, too.
    let _ = unsafe { madvise(whole.as_mut_ptr().cast(), length, Advice::LinuxHugepage) };
}

#[cfg(not(all(feature = "net", target_os = "linux")))]
fn prefer_large_pages(_: &mut [u8]) {}

/// What is asked for begins and ends with one; of every system a multiple of its smallest.
#[cfg(all(feature = "net", target_os = "linux"))]
const PAGE: usize = 2 << 20;
