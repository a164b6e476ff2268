//! libFuzzer's way to `feeds::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::snapshot(data));
