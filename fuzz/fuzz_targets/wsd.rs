//! libFuzzer's way to `discovery::wsd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::wsd(data));
