#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_server_fuzz::laws::copy_text(data));
