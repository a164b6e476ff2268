//! libFuzzer's way to `multicast::tags`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::tags(data));
