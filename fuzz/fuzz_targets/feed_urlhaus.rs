//! libFuzzer's way to `feeds::feed_urlhaus`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::feed_urlhaus(data));
