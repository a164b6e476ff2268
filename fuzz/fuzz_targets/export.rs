//! libFuzzer's way to `server::export`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::export(data));
