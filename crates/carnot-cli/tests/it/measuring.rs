//! `carnot machine`, `carnot perplexity` and `carnot synth`.

use std::fs;

use serde_json::Value;

use crate::{carnot, measure_machine, models, schema, text};

#[test]
fn the_machine_is_told_to_people_and_programs() {
    measure_machine();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("machine.json");
    let printed = carnot(&["machine", "--format", "json", "--output", text(&kept)]).success();
    assert_eq!(printed, fs::read_to_string(&kept).unwrap());
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(json["schema"], "carnot.machine");
    let told = carnot(&["machine"]).success();
    for part in [
        "read bandwidth, GB/s",
        "int8 dot products",
        "fork and join",
        "kernels",
    ] {
        assert!(told.contains(part), "{part} in: {told}");
    }
    let nowhere = folder.path().join("no/machine.json");
    carnot(&["machine", "--output", text(&nowhere)]).failure(1, &[text(&nowhere)]);
}

/// Scores the beginning of the validation text with the embedded model.
fn perplexity(arguments: &[&str]) -> crate::Outcome {
    let (model, file) = (
        models().join("embedded-q8_0.gguf"),
        models().join("text/validation.txt"),
    );
    let begin = ["perplexity", text(&model), text(&file), "--chunks", "2"];
    carnot(&[&begin, arguments].concat())
}

#[test]
fn a_run_compared_with_itself_diverges_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let logits = folder.path().join("base.logits");
    let small = ["--context", "64"];
    perplexity(&[&small[..], &["--save-logits", text(&logits)]].concat()).success();
    let arguments = [&small[..], &["--base", text(&logits), "--format", "json"]].concat();
    let json: Value = serde_json::from_str(&perplexity(&arguments).success()).unwrap();
    insta::assert_snapshot!(schema(&json));
    assert_eq!(json["tokens"], 2 * (64 - 32 - 1));
    assert_eq!(json["base"]["same_top_token"], 1.0);
    // The exponential of single-precision logarithms is off by some ulp; that is all.
    assert!(json["base"]["kl_divergence"].as_f64().unwrap().abs() < 1e-9);
    assert_eq!(json["perplexity"], json["base"]["perplexity"]);

    let other = perplexity(&["--context", "32", "--base", text(&logits)]);
    other.failure(1, &[text(&logits), "context"]);
    fs::write(&logits, "something else, but as long as a header").unwrap();
    let wrong = perplexity(&[&small[..], &["--base", text(&logits)]].concat());
    wrong.failure(1, &[text(&logits), "--save-logits"]);
}

#[test]
fn the_protocols_score_what_they_say() {
    let tokens = |protocol| {
        let arguments = [
            "--context",
            "64",
            "--protocol",
            protocol,
            "--format",
            "json",
        ];
        let json: Value = serde_json::from_str(&perplexity(&arguments).success()).unwrap();
        (json["tokens"].as_u64().unwrap(), json["protocol"].clone())
    };
    assert_eq!(tokens("llamacpp"), (2 * 31, "llamacpp".into()));
    assert_eq!(tokens("huggingface"), (2 * 63, "huggingface".into()));
}

#[test]
fn a_synthetic_model_runs() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    let arguments = [
        "synth",
        "--preset",
        "150m",
        "--type",
        "Q4_0",
        "-o",
        text(&model),
    ];
    assert_eq!(carnot(&arguments).success(), "");
    let told = carnot(&[
        "run",
        text(&model),
        "-p",
        "hello",
        "-n",
        "2",
        "--ignore-eos",
    ]);
    assert!(told.stderr.contains("decode 1 tokens"), "{}", told.stderr);
    told.success();
}

#[test]
fn what_synth_does_not_know_is_listed() {
    let with = |preset, dtype| carnot(&["synth", "--preset", preset, "--type", dtype, "-o", "x"]);
    with("150m", "Q9_9").failure(2, &["Q9_9", "Q4_0", "MXFP4"]);
    with("2b", "Q4_0").failure(2, &["2b", "150m", "8b"]);
    carnot(&["synth", "--preset", "150m", "--type", "Q4_0"]).failure(2, &["--output"]);
    let nowhere = "/nowhere/at/all.gguf";
    carnot(&["synth", "--preset", "150m", "--type", "Q4_0", "-o", nowhere]).failure(1, &[nowhere]);
}
