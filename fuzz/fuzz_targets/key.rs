//! libFuzzer's way to `server::key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::key(data));
