//! `carnot profile` of ONNX models: its books, what is timed and what is only computed, what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use carnot_engine::Tensor;
use carnot_onnx::{DataType, Dimension, GraphBuilder, LibrarySearch, Model};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Outcome, carnot, command, measure_machine, outcome, schema, text};

/// Three nodes in two modules.
fn mlp() -> Model {
    let mut builder = GraphBuilder::new("mlp", 17);
    let batch = || Dimension::Named("batch".to_owned());
    builder.input("x", DataType::FLOAT, [batch(), Dimension::Fixed(3)]);
    let weight = |name: &str, shape: [usize; 2]| {
        let count = shape.iter().product();
        Tensor::from_f32(name, shape, vec![0.5; count]).unwrap()
    };
    builder.weight(&weight("w1", [3, 64]));
    builder.weight(&weight("w2", [64, 2]));
    builder
        .node("MatMul", &["x", "w1"], &["h"])
        .named("/body/first/MatMul");
    builder
        .node("Softplus", &["h"], &["s"])
        .named("/body/first/Softplus");
    builder
        .node("MatMul", &["s", "w2"], &["y"])
        .named("/head/MatMul");
    builder.output("y", DataType::FLOAT, [batch(), Dimension::Fixed(2)]);
    let mut model = builder.finish();
    model.ir_version = 8;
    model
}

fn saved(model: &Model) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.onnx");
    fs::write(&path, model.to_bytes()).unwrap();
    (folder, path)
}

/// The virtual environment that `cargo xtask test setup` makes, where it has ONNX Runtime; without it what needs it is passed over.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn environment() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv");
    let has_runtime = |folder: &PathBuf| folder.join("onnxruntime/capi").is_dir();
    let is_there = LibrarySearch::site_packages_of(&venv)
        .iter()
        .any(has_runtime);
    if !is_there {
        eprintln!(
            "passed over: target/venv has no onnxruntime; `cargo xtask test setup` installs it"
        );
    }
    is_there.then_some(venv)
}

fn profile(path: &Path, arguments: &[&str]) -> Outcome {
    measure_machine();
    carnot(&[&["profile", text(path)], arguments].concat())
}

fn profile_by_runtime(path: &Path, arguments: &[&str]) -> Option<String> {
    let venv = environment()?;
    measure_machine();
    let all = ["profile", text(path), "--engine", "onnxruntime"];
    let mut command = command(&[&all, arguments].concat());
    let output = command.env("VIRTUAL_ENV", venv).output().unwrap();
    Some(outcome(output).success())
}

const SHORT: [&str; 6] = ["--iterations", "4", "--warmup", "1", "--emit", "none"];
const EMBEDDED: [&str; 2] = ["--engine", "embedded"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn check_books(profile: &Value) {
    let losses = profile["losses"].as_array().unwrap();
    let lost: i64 = losses.iter().map(|one| one["ns"].as_i64().unwrap()).sum();
    let (floor, wall) = (&profile["floor_ns"], &profile["wall_ns"]);
    assert_eq!(floor.as_i64().unwrap() + lost, wall.as_i64().unwrap());
    let documented = include_str!("../../../../docs/profile-json.md");
    for row in schema(profile).lines() {
        let path = row.split(": ").next().unwrap().trim_start_matches('.');
        let field = path.rsplit('.').next().unwrap();
        let found = [path, field].map(|name| documented.contains(&format!("`{name}`")));
        assert!(found != [false; 2], "{path} is in docs/profile-json.md");
    }
}

fn names(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn the_embedded_engine_is_timed_as_a_whole() {
    let (_folder, path) = saved(&mlp());
    let told = profile(
        &path,
        &[&SHORT[..], &EMBEDDED, &["--format", "json"]].concat(),
    );
    let told = json(&told.success());
    check_books(&told);
    let tensors = &told["tensors"];
    assert_eq!(tensors["engine"], "embedded");
    assert_eq!(tensors["is_timed_by_node"], false);
    assert_eq!(tensors["assumed"][0], "batch of x is 1");
    assert_eq!(tensors["runs"]["count"], 4);
    assert_eq!(tensors["uncounted"], Value::Array(Vec::new()));
    let operators = names(&tensors["operators"]);
    assert!(operators.contains(&"MatMul") && operators.contains(&"Softplus"));
    let modules = names(&tensors["modules"]);
    assert!(modules.contains(&"body/first") && modules.contains(&"head"));
    let nodes = tensors["nodes"].as_array().unwrap();
    let first = nodes.iter().find(|one| one["name"] == "/body/first/MatMul");
    let first = first.unwrap();
    assert_eq!(first["inputs"], "1×3, 3×64");
    assert_eq!(
        (&first["outputs"], &first["flops"]),
        (&"1×64".into(), &(2 * 3 * 64).into())
    );
    assert_eq!(
        (&first["count"], &first["total_ns"]),
        (&0.into(), &0.into())
    );
    // The whole: both products, one operation for each value between them; the weights, what goes in and what comes out.
    let whole = &told["operations"][0];
    assert_eq!(whole["name"], "graph");
    assert_eq!(whole["flops"], 4 * (2 * 64 * 5 + 64));
    assert_eq!(whole["bytes"], 4 * 4 * (64 * 5 + 5));
    let report = profile(&path, &[&SHORT[..], &EMBEDDED].concat()).success();
    assert!(report.contains("times only the whole"), "{report}");
}

#[test]
fn the_runtime_is_timed_node_by_node() {
    let (_folder, path) = saved(&mlp());
    let shapes = ["--inputs", "x:5x3", "--format", "json"];
    let Some(told) = profile_by_runtime(&path, &[&SHORT[..], &shapes].concat()) else {
        return;
    };
    let told = json(&told);
    check_books(&told);
    let tensors = &told["tensors"];
    assert_eq!(tensors["is_timed_by_node"], true);
    assert_eq!(tensors["inputs"][0]["shape"], Value::from(vec![5, 3]));
    assert_eq!(
        (&tensors["runs"]["count"], &tensors["assumed"]),
        (&4.into(), &Value::Array(Vec::new()))
    );
    let nodes = tensors["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|one| one["count"] == 4), "{nodes:?}");
    let last = nodes
        .iter()
        .find(|one| one["name"] == "/head/MatMul")
        .unwrap();
    assert_eq!(last["outputs"], "5×2");
    assert_eq!(
        (&last["flops"], &last["is_counted"]),
        (&(4 * 2 * 5 * 64 * 2).into(), &true.into())
    );
    let operations = names(&told["operations"]);
    assert!(
        operations.contains(&"MatMul · /head/MatMul"),
        "{operations:?}"
    );
}

const FILES: [(&str, &str); 6] = [
    ("html", "report.html"),
    ("perfetto", "trace.pftrace"),
    ("markdown", "report.md"),
    ("text", "report.txt"),
    ("csv", "operations.csv"),
    ("trace", "trace.json"),
];

/// Whichever engine is there: all forms, and traces that are compared.
#[test]
fn reports_have_nodes_and_traces_are_compared() {
    let (folder, path) = saved(&mlp());
    let out = |name: &str| folder.path().join(name);
    let forms = FILES.map(|(form, _)| form).join(",");
    for run in ["one", "two"] {
        let all = ["--iterations", "12", "--emit", &forms];
        let to = out(run);
        let all = [&all[..], &["--output", text(&to)]].concat();
        if profile_by_runtime(&path, &all).is_none() {
            profile(&path, &[&all[..], &EMBEDDED].concat()).success();
        }
    }
    for (_, file) in FILES {
        let size = out("one").join(file).metadata().unwrap().len();
        assert!(size > 100, "{file}");
    }
    let report = fs::read_to_string(out("one").join("report.md")).unwrap();
    for text in [
        "## Operators",
        "## Modules",
        "## Slowest nodes",
        "1×64 → 1×64",
    ] {
        assert!(report.contains(text), "{text} in: {report}");
    }
    let [one, two] = ["one", "two"].map(|name| out(name).join("trace.json"));
    let compared = carnot(&["compare", "--baseline", text(&one), "--current", text(&two)]);
    assert!(compared.stdout.contains("run step"), "{compared:?}");
}

#[test]
fn arrays_of_a_file_go_in() {
    let (_folder, path) = saved(&mlp());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tensors/x.npz");
    let arguments = [
        &SHORT[..],
        &EMBEDDED,
        &["--format", "json", "--inputs", file],
    ]
    .concat();
    let told = json(&profile(&path, &arguments).success());
    let input = &told["tensors"]["inputs"][0];
    assert_eq!(
        (&input["name"], &input["values"]),
        (&"x".into(), &file.into())
    );
    assert_eq!(input["shape"], Value::from(vec![2, 3]));
}

/// Holds `carnot profile` to refuse these arguments in one line, as wrong usage.
#[track_caller]
fn refused(path: &Path, arguments: &[&str], mentions: &[&str]) {
    let outcome = profile(
        path,
        &[&EMBEDDED[..], &["--emit", "none"], arguments].concat(),
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    outcome.failure(2, mentions);
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let (folder, path) = saved(&mlp());
    refused(&path, &["--inputs", "y:1x3"], &["y", "expected one of: x"]);
    refused(&path, &["--inputs", "x:1x4"], &["[?, 3]", "[1, 4]"]);
    refused(&path, &["--inputs", "x:1xa"], &["x:1xa", ".npz"]);
    refused(&path, &["--prompt", "x"], &["--prompt", "ONNX"]);
    let file = folder.path().join("noise.npz");
    fs::write(&file, "no archive").unwrap();
    refused(&path, &["--inputs", text(&file)], &[text(&file), "ZIP"]);
    let noise = folder.path().join("noise.onnx");
    fs::write(&noise, "no model").unwrap();
    refused(&noise, &[], &[text(&noise), "not an ONNX model"]);
    let nowhere = folder.path().join("nowhere.onnx");
    refused(&nowhere, &[], &[text(&nowhere), "No such file"]);
    let wrong = folder.path().join("libonnxruntime.so");
    carnot(&[
        "profile",
        text(&path),
        "--emit",
        "none",
        "--onnxruntime",
        text(&wrong),
    ])
    .failure(2, &["no ONNX Runtime", text(&wrong)]);
    carnot(&["profile", "--inputs", "x:1"]).failure(2, &["--inputs", "model of text"]);
}

#[test]
fn weights_that_are_not_there_are_named() {
    let mut model = mlp();
    model.graph.initializers[0].data =
        carnot_onnx::TensorData::External(carnot_onnx::ExternalData {
            location: "weights.bin".to_owned(),
            ..carnot_onnx::ExternalData::default()
        });
    let (_folder, path) = saved(&model);
    refused(&path, &[], &["weights.bin", "No such file"]);
}

#[test]
fn operators_of_unknown_work_are_named_and_not_guessed() {
    let mut builder = GraphBuilder::new("m", 17);
    // More values than are followed through an analysis.
    builder.input("x", DataType::FLOAT, [Dimension::Fixed(100_000)]);
    builder.node("NonZero", &["x"], &["at"]);
    builder.node("Cast", &["at"], &["y"]).int("to", 1);
    builder.output(
        "y",
        DataType::FLOAT,
        [Dimension::Fixed(1), Dimension::Unknown],
    );
    let mut model = builder.finish();
    model.ir_version = 8;
    let (_folder, path) = saved(&model);
    let report = profile(&path, &[&SHORT[..], &EMBEDDED].concat()).success();
    assert!(report.contains("uncounted"), "{report}");
    assert!(report.contains("NonZero (1)"), "{report}");
}

#[test]
fn networks_of_images_are_written_and_profiled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network");
    let written = carnot(&["synth", "--preset", "mobilenet-v2", "-o", text(&path)]);
    assert!(written.stderr.contains("14.2 MB"), "{written:?}");
    written.success();
    // Told by how it begins, for the name has no ending.
    let arguments = [
        "--iterations",
        "1",
        "--warmup",
        "0",
        "--emit",
        "none",
        "--format",
        "json",
    ];
    let told = profile(&path, &[&arguments[..], &EMBEDDED].concat());
    let told = json(&told.success());
    assert_eq!(told["tensors"]["inputs"][0]["name"], "image");
    assert!(names(&told["tensors"]["modules"]).contains(&"features/17"));
    carnot(&[
        "synth",
        "--preset",
        "resnet-50",
        "--type",
        "F16",
        "-o",
        text(&path),
    ])
    .failure(2, &["--type", "resnet-50"]);
    carnot(&["synth", "--preset", "1b", "-o", text(&path)]).failure(2, &["--type"]);
}

#[test]
fn runs_are_benchmarked_and_their_losses_sum() {
    measure_machine();
    let (_folder, path) = saved(&mlp());
    let all = [
        "bench",
        "inference",
        text(&path),
        "--iterations",
        "5",
        "--format",
        "json",
    ];
    let told = json(&carnot(&[&all[..], &EMBEDDED].concat()).success());
    assert_eq!(told["conditions"]["inputs"], "x:1x3");
    assert_eq!(told["conditions"]["engine"], "embedded");
    let metrics = told["metrics"].as_array().unwrap();
    let request = metrics.iter().find(|one| one["name"] == "request").unwrap();
    let seconds = request["values"].as_array().unwrap();
    assert_eq!(seconds.len(), 5);
    let losses = told["losses"].as_array().unwrap();
    for (run, seconds) in seconds.iter().enumerate() {
        let ns: f64 = losses
            .iter()
            .map(|one| one["ns"][run].as_f64().unwrap())
            .sum();
        // With this engine the runs that are timed are those that are recorded; the one is told in seconds.
        assert!(
            (ns - 1e9 * seconds.as_f64().unwrap()).abs() < 1.0,
            "{ns} {seconds}"
        );
    }
    let all = ["bench", "inference", text(&path), "--prompt", "x"];
    carnot(&all).failure(2, &["--prompt", "ONNX"]);
    carnot(&["bench", "inference", "--engine", "embedded"]).failure(2, &["--engine"]);
}
