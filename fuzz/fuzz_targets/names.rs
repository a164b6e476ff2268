//! libFuzzer's way to `tunnel::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::names(data));
