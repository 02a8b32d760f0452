//! Fuzzes `backscroll_fuzz::changes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backscroll_fuzz::changes::run(data));
