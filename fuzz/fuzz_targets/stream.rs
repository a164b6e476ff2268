//! libFuzzer's way to `tunnel::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::stream(data));
