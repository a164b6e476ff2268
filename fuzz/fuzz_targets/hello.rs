//! libFuzzer's way to `tunnel::hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::hello(data));
