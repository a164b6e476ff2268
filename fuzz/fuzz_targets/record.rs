//! libFuzzer's way to `tunnel::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::record(data));
