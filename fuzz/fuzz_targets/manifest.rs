//! libFuzzer's way to `multicast::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::manifest(data));
