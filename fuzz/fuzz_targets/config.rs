//! A `config.json`: what it accepts must be safe to compute with.
#![no_main]

use carnot_formats::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = ModelConfig::from_json("fuzz", bytes) else {
        return;
    };
    assert!(
        config
            .tensors()
            .take(100)
            .all(|spec| !spec.shape.is_empty())
    );
    if config.rope.dimension < 1 << 16 {
        assert_eq!(config.rope.frequencies().len(), config.rope.dimension / 2);
    }
});
