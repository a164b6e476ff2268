//! libFuzzer's way to `wire::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::message(data));
