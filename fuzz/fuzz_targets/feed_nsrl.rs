//! libFuzzer's way to `feeds::feed_nsrl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::feed_nsrl(data));
