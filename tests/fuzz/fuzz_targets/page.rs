#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oplake_core::testing::hostile::page(bytes));
