//! Fuzzes `backscroll_fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backscroll_fuzz::records::run(data));
