//! libFuzzer's way to `discovery::machines::resolver`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::machines::resolver(data));
