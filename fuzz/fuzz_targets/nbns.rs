//! libFuzzer's way to `discovery::nbns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::nbns(data));
