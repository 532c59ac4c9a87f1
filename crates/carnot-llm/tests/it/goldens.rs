//! Logits against those of `tools/reference/forward.py`, which decodes the same weights and computes in 64 bits.
//!
//! What differs is what the engine does on purpose: activations rounded to int8 in groups of 32 where weights are integers, keys and
//! values kept as half floats, an exponential of a few ulp. The tolerances are about twice the largest distance that was measured
//! over all architectures, instruction sets and numbers of threads; `docs/correctness.md` has the measurements.
//!
//! To write the goldens again:
//!
//! ```text
//! cargo test -p carnot-llm --test it -- --ignored write_tiny_models
//! python tools/reference/forward.py goldens target/tmp/tiny-models crates/carnot-llm/tests/fixtures
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carnot_formats::{Architecture, BlockType, ModelFile};
use carnot_kernels::InstructionSet;

use crate::{Distance, embedded, forward, instruction_sets, load, models, prompt, tiny};

/// Tokens of the prompt, and the positions after which logits are kept: within and across blocks of the cache.
const LENGTH: usize = 48;
const POSITIONS: [usize; 3] = [0, 20, LENGTH - 1];

/// The most that logits may differ, on average and by divergence in nats.
struct Tolerance {
    largest: f64,
    mean: f64,
    kl: f64,
}

fn tolerance(dtype: BlockType) -> Tolerance {
    let (largest, mean, kl) = match dtype {
        BlockType::F32 | BlockType::F16 => (0.004, 0.0008, 4e-7),
        BlockType::Q4_0 | BlockType::Q4K | BlockType::Q5K => (0.12, 0.02, 2.5e-4),
        _ => (0.2, 0.04, 7e-4),
    };
    Tolerance { largest, mean, kl }
}

fn golden(name: &str) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path: PathBuf = folder.join(format!("{name}.logits.f32"));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// Holds every instruction set, alone and with three threads, to the golden logits.
fn check(name: &str, file: &Arc<ModelFile>, tolerance: &Tolerance) {
    let golden = golden(name);
    let vocabulary = file.config().vocabulary;
    let tokens = prompt(LENGTH, vocabulary);
    let blocks: Vec<u32> = (0..LENGTH.div_ceil(16) as u32).rev().collect();
    for set in instruction_sets() {
        for threads in [1, 3] {
            let mut model = load(file.clone(), threads, set, blocks.len());
            let logits = forward(&mut model, (&tokens, 0), &blocks, &POSITIONS);
            let distance = Distance::of(&logits, &golden, vocabulary);
            println!("{name} · {set} · {threads} threads: {distance:?}");
            assert!(
                distance.largest <= tolerance.largest
                    && distance.mean <= tolerance.mean
                    && distance.kl <= tolerance.kl,
                "{name} · {set} · {threads} threads: {distance:?}"
            );
        }
    }
}

fn check_architecture(architecture: Architecture) {
    for dtype in tiny::TYPES {
        let name = tiny::name(architecture, dtype);
        check(&name, &tiny::model(architecture, dtype), &tolerance(dtype));
    }
}

#[test]
fn llama_with_frequency_factors() {
    check_architecture(Architecture::Llama);
}

#[test]
fn mistral_with_a_window_and_an_output_of_its_own() {
    check_architecture(Architecture::Mistral);
}

#[test]
fn qwen2_with_biases() {
    check_architecture(Architecture::Qwen2);
}

#[test]
fn qwen3_with_head_norms_and_wide_queries() {
    check_architecture(Architecture::Qwen3);
}

/// Says so once, and computes the same as any other.
#[test]
fn heads_that_are_not_whole_vectors() {
    let bytes = tiny::gguf_of_odd_heads();
    let file = Arc::new(ModelFile::from_gguf_bytes("odd-heads", bytes).unwrap());
    check("odd-heads", &file, &tolerance(BlockType::F32));
    let notes = load(file, 1, InstructionSet::best(), 1).notes();
    assert_eq!(
        notes,
        [
            "heads of 20 values are widened to 32, the next multiple of 16: keys and values take 1.60 times the memory, and \
          attention reads as much more"
        ]
    );
    let usual = tiny::model(Architecture::Llama, BlockType::F32);
    assert_eq!(load(usual, 1, InstructionSet::best(), 1).notes(), [""; 0]);
}

#[test]
fn the_embedded_model_from_gguf() {
    check("embedded-Q8_0", &embedded(), &tolerance(BlockType::Q8_0));
}

#[test]
fn the_embedded_model_from_safetensors() {
    let file = Arc::new(ModelFile::open(&models().join("embedded")).unwrap());
    check("embedded-safetensors", &file, &tolerance(BlockType::F16));
}

#[test]
#[ignore = "writes the models for tools/reference/forward.py"]
fn write_tiny_models() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-models");
    fs::create_dir_all(&folder).unwrap();
    for architecture in tiny::ARCHITECTURES {
        for dtype in tiny::TYPES {
            let path = folder.join(format!("{}.gguf", tiny::name(architecture, dtype)));
            fs::write(path, tiny::gguf(architecture, dtype)).unwrap();
        }
    }
    fs::write(folder.join("odd-heads.gguf"), tiny::gguf_of_odd_heads()).unwrap();
}
