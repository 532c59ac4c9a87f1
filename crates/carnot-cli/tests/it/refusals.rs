//! What is wrong with a file is said in one line: which file, where in it, what was expected and what was found.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::{carnot, carnot_reading, models, text};

/// A directory with one file of these bytes.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn embedded() -> Vec<u8> {
    fs::read(models().join("embedded-q8_0.gguf")).unwrap()
}

/// Holds `run`, `profile` and `perplexity` to refuse a model file of these bytes.
#[track_caller]
fn refused(name: &str, bytes: &[u8], mentions: &[&str]) {
    let (_folder, path) = file(name, bytes);
    let mentions = [&[text(&path)], mentions].concat();
    let validation = models().join("text/validation.txt");
    carnot(&["run", text(&path), "-p", "x"]).failure(1, &mentions);
    carnot(&["perplexity", text(&path), text(&validation)]).failure(1, &mentions);
}

/// The embedded model, with the type of a tensor changed.
fn with_type(tensor: &str, id: u32) -> Vec<u8> {
    let mut bytes = embedded();
    let name = tensor.as_bytes();
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    // The name is followed by the number of dimensions, two dimensions, and the type.
    let at = at + name.len() + 4 + 16;
    assert_eq!(bytes[at..at + 4], 8_u32.to_le_bytes(), "Q8_0 as written");
    bytes[at..at + 4].copy_from_slice(&id.to_le_bytes());
    bytes
}

#[test]
fn a_model_that_is_not_there() {
    let path = "/nowhere/model.gguf";
    let mentions = [path, "No such file"];
    carnot(&["run", path, "-p", "x"]).failure(1, &mentions);
    carnot(&["profile", path, "--emit", "none"]).failure(1, &mentions);
}

#[test]
fn a_directory_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    carnot(&["run", text(folder.path()), "-p", "x"])
        .failure(1, &[text(&folder.path().join("config.json"))]);
}

#[test]
fn a_truncated_file() {
    let bytes = embedded();
    for length in [3, 20, 1000, 200_000, bytes.len() / 2, bytes.len() - 1] {
        refused("cut.gguf", &bytes[..length], &["expected", "found"]);
    }
}

#[test]
fn an_empty_file_and_one_of_noise() {
    refused("empty.gguf", &[], &["expected", "found"]);
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    refused("noise.gguf", &noise, &["magic", "GGUF"]);
    let (folder, path) = file("model.safetensors", &noise);
    let config = models().join("embedded/config.json");
    fs::copy(config, folder.path().join("config.json")).unwrap();
    carnot(&["run", text(&path), "-p", "x"]).failure(1, &[text(&path), "expected", "found"]);
}

#[test]
fn a_tensor_of_another_type() {
    let tensor = "blk.0.attn_q.weight";
    refused("t.gguf", &with_type(tensor, 24), &[tensor, "I8"]);
    refused(
        "t.gguf",
        &with_type(tensor, 4_000_000_000),
        &[tensor, "4000000000"],
    );
    // A type that is known, but needs more bytes than there are before the next tensor.
    refused("t.gguf", &with_type(tensor, 0), &["expected", "found"]);
}

#[test]
fn a_prompt_that_does_not_fit() {
    let prompt = "word ".repeat(100);
    carnot(&["run", "-p", &prompt, "--context", "16"]).failure(1, &["prompt of", "context of 16"]);
}

#[test]
fn a_prompt_that_is_no_text() {
    carnot_reading(&["run"], b"\xff\xfe\xfd").failure(1, &["standard input", "UTF-8"]);
}

#[test]
fn a_text_that_cannot_be_scored() {
    let model = models().join("embedded-q8_0.gguf");
    let score = |path: &str| carnot(&["perplexity", text(&model), path]);
    let (_folder, path) = file("latin1.txt", b"caf\xe9 au lait");
    score(text(&path)).failure(1, &[text(&path), "UTF-8"]);
    let (_folder, path) = file("short.txt", b"a few words");
    score(text(&path)).failure(1, &[text(&path), "512", "--context"]);
    let (_folder, path) = file("empty.txt", b"");
    score(text(&path)).failure(1, &[text(&path), "expected at least one chunk"]);
    score("/nowhere/text.txt").failure(1, &["/nowhere/text.txt"]);
    let text_file = models().join("text/validation.txt");
    carnot(&[
        "perplexity",
        text(&model),
        text(&text_file),
        "--context",
        "4096",
    ])
    .failure(1, &["4096", "1024"]);
}
