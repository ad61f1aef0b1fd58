#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_zql_fuzz::laws::ast(data));
