//! libFuzzer's way to `multicast::catalogue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::catalogue(data));
