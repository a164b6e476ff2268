//! libFuzzer's way to `multicast::mark`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::mark(data));
