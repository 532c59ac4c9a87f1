//! What loading takes is known before, and held to what may be taken.

use carnot_kernels::{Compute, InstructionSet, KvType};
use carnot_llm::{EngineOptions, Error, LlmEngine, MemoryNeed, Model, StepSize};

use crate::{embedded, tiny};

const SIZE: StepSize = StepSize {
    kv_type: KvType::F16,
    context: 100,
    rows: 8,
    logit_rows: 1,
};

#[test]
fn the_need_is_what_a_loaded_model_has() {
    for architecture in tiny::ARCHITECTURES {
        for dtype in tiny::TYPES {
            let file = tiny::model(architecture, dtype);
            let need = MemoryNeed::of(&file, SIZE);
            assert_eq!(need.kv_tokens, 112, "whole blocks");
            let vectors: usize = file
                .tensors()
                .filter(|tensor| tensor.shape.len() == 1)
                .map(|tensor| 4 * tensor.elements())
                .sum();
            let compute = Compute::with_instruction_set(1, InstructionSet::Scalar);
            let model = Model::load(file, compute, 7, |_, _| ()).unwrap();
            let packed = model.weights().packed_bytes() + vectors as u64;
            assert_eq!(need.weights_bytes, packed, "{architecture:?} {dtype}");
            assert_eq!(need.kv_bytes, 112 * model.kv_token_bytes());
        }
    }
}

#[test]
fn an_engine_that_does_not_fit_is_refused_before_it_is_loaded() {
    let load = |available| {
        let options = EngineOptions {
            threads: 1,
            available_bytes: Some(available),
            ..EngineOptions::default()
        };
        let mut layers = 0;
        let result = LlmEngine::load(embedded(), &options, |_, _| layers += 1);
        (result.err(), layers)
    };
    let (error, layers) = load(1 << 20);
    assert_eq!(layers, 0, "nothing was loaded");
    let Some(Error::Memory { file, need, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(file.ends_with("embedded-q8_0.gguf"), "{file}");
    assert_eq!(need.kv_tokens, 1024, "the model's own limit");
    assert!(load(need.total() - 1).0.is_some());
    assert!(load(need.total()).0.is_none());
}
