#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (cardinal_tests::fuzz::target("head_log_file").expect("a target of that name").run)(bytes);
});
