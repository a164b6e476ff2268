//! libFuzzer's way to `tunnel::target::target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::target::target(data));
