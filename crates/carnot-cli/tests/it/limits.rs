//! Where the machine ends: less memory than a model needs, fewer cores than there are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use carnot_formats::gguf::{Metadata, TensorHeader, Writer};
use carnot_formats::{Architecture, BlockType, ModelConfig, Rope, RopeScaling, RopeStyle};
use tempfile::TempDir;

use crate::{carnot, measure_machine, text};

/// A model of 700 billion parameters; its header is true, and its weights are a hole in the file.
fn enormous() -> (TempDir, PathBuf) {
    let config = ModelConfig {
        architecture: Architecture::Llama,
        vocabulary: 32_000,
        hidden: 16_384,
        layers: 160,
        heads: 128,
        kv_heads: 128,
        head_dim: 128,
        feed_forward: 65_536,
        context_length: 1 << 20,
        rms_norm_epsilon: 1e-5,
        rope: Rope {
            theta: 500_000.0,
            dimension: 128,
            style: RopeStyle::Interleaved,
            scaling: RopeScaling::None,
            frequency_factors: None,
        },
        tied_embeddings: true,
        sliding_window: None,
    };
    let required = config.tensors().filter(|spec| spec.required);
    let headers: Vec<TensorHeader> = required
        .map(|spec| TensorHeader {
            dtype: match spec.shape.len() {
                1 => BlockType::F32,
                _ => BlockType::Q8_0,
            },
            name: spec.name,
            shape: spec.shape,
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("enormous.gguf");
    let file = File::create(&path).unwrap();
    Writer::new(&file, &metadata(&config), &headers).unwrap();
    let data: usize = headers
        .iter()
        .map(|header| header.bytes().next_multiple_of(32))
        .sum();
    file.set_len(file.metadata().unwrap().len() + data as u64)
        .unwrap();
    (folder, path)
}

fn metadata(config: &ModelConfig) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.string("general.architecture", "llama");
    for (key, size) in [
        ("llama.context_length", config.context_length),
        ("llama.embedding_length", config.hidden),
        ("llama.block_count", config.layers),
        ("llama.feed_forward_length", config.feed_forward),
        ("llama.attention.head_count", config.heads),
        ("llama.attention.head_count_kv", config.kv_heads),
    ] {
        metadata.u32(key, size as u32);
    }
    metadata.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    metadata.f32("llama.rope.freq_base", config.rope.theta);
    metadata
}

/// Bytes that a file takes on the disk.
fn occupied(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_it_is_loaded() {
    let (_folder, path) = enormous();
    assert!(occupied(&path) < 1 << 20, "the file is a hole");
    let mentions = [
        text(&path),
        "needs",
        "(weights 730.72 GB",
        "keys and values of 8192 tokens 85.90 GB",
        "buffers",
        "available are",
        "smaller model",
    ];
    carnot(&["run", text(&path), "-p", "x"]).failure(1, &mentions);
    measure_machine();
    carnot(&["profile", text(&path), "--emit", "none"]).failure(1, &mentions);
    let shorter = [
        text(&path),
        "keys and values of 112 tokens",
        "available are",
    ];
    carnot(&["run", text(&path), "-p", "x", "--context", "100"]).failure(1, &shorter);
}

/// More threads than any machine of ours has cores.
const TOO_MANY: &str = "130";

#[test]
fn more_threads_than_cores_are_warned_of_with_what_they_cost() {
    let told = carnot(&["run", "-p", "x", "-n", "2", "--threads", TOO_MANY]).stderr;
    let begin = format!("carnot: {TOO_MANY} threads on ");
    let warnings: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with(&begin))
        .collect();
    let [warning] = warnings.as_slice() else {
        panic!("one warning: {told}");
    };
    let speed = warning.split("measured ").nth(1).unwrap();
    let speed: f64 = speed.split(' ').next().unwrap().parse().unwrap();
    assert!(speed.is_finite() && speed >= 0.0, "{warning}");
    let told = carnot(&["run", "-p", "x", "-n", "2", "--threads", "1"]).stderr;
    assert!(!told.contains("cores"), "{told}");
}

/// How many threads a run on the cores of `list` says that it used.
#[cfg(target_os = "linux")]
fn threads_on(list: &str) -> u32 {
    let carnot = env!("CARGO_BIN_EXE_carnot");
    let output = std::process::Command::new("taskset")
        .args(["-c", list, carnot, "run", "-p", "x", "-n", "2"])
        .env_remove("CARNOT_THREADS")
        .output()
        .expect("taskset is part of every Linux");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let words: Vec<&str> = told.split_whitespace().collect();
    let [.., count, _threads] = words.as_slice() else {
        panic!("{told}");
    };
    count.parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_affinity_mask_sets_the_number_of_threads() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap()
        .trim();
    let first = list.split(['-', ',']).next().unwrap();
    assert_eq!(threads_on(first), 1);
    let all = std::thread::available_parallelism().unwrap().get() as u32;
    assert!(
        (all..=all + 1).contains(&threads_on(list)),
        "a quota is rounded up here"
    );
}
