//! libFuzzer's way to `discovery::ntlm`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::ntlm(data));
