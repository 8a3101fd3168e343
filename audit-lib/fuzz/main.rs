//! Hands libFuzzer's inputs to the target that `CHAPERONE_FUZZ` names.
#![no_main]

#[path = "../../tests/scan/oracle.rs"]
mod oracle;
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("CHAPERONE_FUZZ").unwrap_or_default();
    targets::find(&name).unwrap_or_else(|| panic!("CHAPERONE_FUZZ is '{name}'; allowed is {}", targets::names()))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
