//! An ONNX model: what it accepts must be safe to describe, analyse and write again.
#![no_main]

use std::collections::HashMap;

use carnot_onnx::{Model, analyze};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::parse(bytes) else {
        return;
    };
    let _ = model.info("fuzz", "", "");
    let _ = analyze(&model, &HashMap::new());
    assert!(Model::parse(model.to_bytes()).is_ok());
});
