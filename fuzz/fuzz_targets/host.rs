//! libFuzzer's way to `tunnel::host`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::host(data));
