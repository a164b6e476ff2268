//! libFuzzer's way to `server::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::config(data));
