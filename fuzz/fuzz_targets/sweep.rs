//! libFuzzer's way to `discovery::machines::sweep`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::machines::sweep(data));
