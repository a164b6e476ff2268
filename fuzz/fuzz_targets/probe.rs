//! libFuzzer's way to `discovery::probe`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::probe(data));
