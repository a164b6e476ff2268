//! libFuzzer's way to `feeds::url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::url(data));
