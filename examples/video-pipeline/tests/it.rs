//! The Rust program, run as a user runs it: what it says of itself is right, and each planted fault is what the report names first.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_video-pipeline"));
    // A launcher's own variables would make this one rank of several.
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"] {
        command.env_remove(name);
    }
    command.args(arguments).arg("--output").arg(folder);
    command.output().expect("the program starts")
}

/// The report in JSON of a run of two prompts with seven blocks each: a leak is certain after ten blocks.
fn report(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().find(|line| {
        let path = Path::new(line);
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    let path = path.unwrap_or_else(|| panic!("no report in JSON is named in\n{text}"));
    let report = std::fs::read(path).expect("it is there");
    serde_json::from_slice(&report).expect("it is JSON")
}

#[test]
fn what_is_counted_is_what_was_done() {
    let of = &report(&[])["carnot"];
    assert_eq!(of["items"], 42);
    let video = &of["streaming"][0];
    let frames = video["frames"].as_u64().unwrap() + video["dropped"].as_u64().unwrap();
    assert_eq!(frames, 42);
    // Five blocks of each prompt ask for nine frames. Of a prompt's first seven blocks the last is never asked for; there is room
    // for nine frames, and each of the other 36 is computed once.
    let bank = &of["caches"][0];
    let counts = ["hits", "misses", "evictions", "is_thrashing"].map(|name| bank[name].clone());
    assert_eq!(counts, [54.into(), 36.into(), 27.into(), false.into()]);

    let without = &report(&["--without-memory-bank"])["carnot"];
    assert_eq!(without["caches"], serde_json::json!([]));
}

fn finds_first(fault: &str, category: &str) {
    let report = report(&["--fault", fault]);
    let found = &report["recommendations"];
    assert_eq!(found[0]["category"], category, "{found:#}");
    assert_eq!(found[0]["priority"], "high", "{found:#}");
}

#[test]
fn a_leak_of_a_kibibyte_a_block_is_named_first() {
    finds_first("leak", "memory");
}

#[test]
fn a_memory_bank_one_frame_too_small_is_named_first() {
    finds_first("thrash", "cache");
}

#[test]
fn one_frame_in_twenty_dropped_is_named_first() {
    finds_first("drops", "streaming");
}

#[test]
fn a_layer_that_does_more_than_its_like_is_named_first() {
    finds_first("slow-layer", "layers");
}
