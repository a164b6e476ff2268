//! libFuzzer's way to `server::invitation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::server::invitation(data));
