//! libFuzzer's way to `server::handover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::handover(data));
