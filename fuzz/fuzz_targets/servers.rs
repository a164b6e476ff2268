//! libFuzzer's way to `wire::servers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::servers(data));
