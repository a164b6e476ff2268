//! libFuzzer's way to `wire::identity::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::identity::request(data));
