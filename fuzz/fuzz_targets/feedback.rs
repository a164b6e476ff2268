//! libFuzzer's way to `multicast::feedback`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::feedback(data));
