//! libFuzzer's way to `feeds::feed_rpz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::feeds::feed_rpz(data));
