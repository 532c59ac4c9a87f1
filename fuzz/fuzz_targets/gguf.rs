//! A GGUF model: header, configuration, every tensor, the tokenizer and the template.
#![no_main]

use carnot_formats::ModelFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = ModelFile::from_gguf_bytes("fuzz", bytes.to_vec()) else {
        return;
    };
    let weights: usize = model.tensors().map(|tensor| tensor.to_f32().len()).sum();
    assert_eq!(weights as u64, model.parameters());
    let _ = model.chat_template();
    if let Ok(tokenizer) = model.tokenizer() {
        let _ = tokenizer
            .encode("def f(x): return 'é'\n", true)
            .map(|ids| tokenizer.decode(&ids, false));
    }
});
