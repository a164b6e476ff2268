//! libFuzzer's way to `feeds::feed_threatfox`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::feed_threatfox(data));
