//! libFuzzer's way to `wire::signed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::signed(data));
