//! libFuzzer's way to `discovery::llmnr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::llmnr(data));
