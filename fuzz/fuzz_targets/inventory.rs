//! libFuzzer's way to `discovery::machines::inventory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::machines::inventory(data));
