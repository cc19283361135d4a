#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (cardinal_tests::fuzz::target("manifest_file").expect("a target of that name").run)(bytes);
});
