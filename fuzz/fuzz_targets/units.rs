//! libFuzzer's way to `server::units`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::units(data));
