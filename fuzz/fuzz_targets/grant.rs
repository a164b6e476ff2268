//! libFuzzer's way to `tunnel::grant`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::grant(data));
