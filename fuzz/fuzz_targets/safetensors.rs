//! A safetensors header: what it accepts must lie within the file.
#![no_main]

use carnot_formats::safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = safetensors::read("fuzz", bytes) else {
        return;
    };
    assert!(
        tensors
            .iter()
            .all(|tensor| bytes.get(tensor.data.clone()).is_some())
    );
});
