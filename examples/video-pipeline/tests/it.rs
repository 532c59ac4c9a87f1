//! The Rust program, run as a user runs it: what it says of itself is right, and each planted fault is what the report names first.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_video-pipeline"));
    // A launcher's own variables would make this one rank of several.
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"] {
        command.env_remove(name);
    }
    command.args(arguments).arg("--output").arg(folder);
    command.output().expect("the program starts")
}

/// The report in JSON, written to the folder `name`, of a run of two prompts with seven blocks each: a leak is certain after ten blocks.
fn report(name: &str, arguments: &[&str]) -> Value {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = run(&folder, arguments);
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
    let report = serde_json::from_slice(&report).expect("it is JSON");
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    report
}

#[test]
fn what_is_counted_is_what_was_done() {
    let of = &report("all", &[])["carnot"];
    assert_eq!(of["items"], 42);
    let video = &of["streaming"][0];
    let frames = video["frames"].as_u64().unwrap() + video["dropped"].as_u64().unwrap();
    assert_eq!(frames, 42);
    // Five blocks of each prompt ask for nine frames each. The last block of a prompt is never asked for; every other frame, 36 in
    // all, is computed once, and all but the nine that there is room for are thrown out.
    let bank = &of["caches"][0];
    let counts = ["hits", "misses", "evictions", "is_thrashing"].map(|name| &bank[name]);
    assert_eq!(json!(counts), json!([54, 36, 27, false]));

    let without = &report("without", &["--without-memory-bank"])["carnot"];
    assert_eq!(without["caches"], json!([]));
}

fn finds_first(fault: &str, category: &str) {
    let report = report(fault, &["--fault", fault]);
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
