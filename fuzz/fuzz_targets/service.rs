//! libFuzzer's way to `discovery::service`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::service(data));
