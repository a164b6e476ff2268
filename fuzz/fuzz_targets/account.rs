//! libFuzzer's way to `discovery::account::account`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::account::account(data));
