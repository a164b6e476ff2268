//! libFuzzer's way to `ksnproxy::reputation_ticket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::ksnproxy::reputation_ticket(data));
