//! libFuzzer's way to `discovery::reverse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::reverse(data));
