//! libFuzzer's way to `ksnproxy::responder`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::ksnproxy::responder::responder(data));
