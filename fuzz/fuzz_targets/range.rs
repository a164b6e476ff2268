//! libFuzzer's way to `discovery::range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::range(data));
