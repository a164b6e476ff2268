//! libFuzzer's way to `wire::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::frame(data));
