//! `carnot compare` of two traces: operations and steps, by the times of their executions.

use serde_json::{Value, json};

use crate::comparing::{compare_files, files};
use crate::{carnot, text};

const STEPS: u64 = 96;

/// A trace of a decode phase: steps of a multiplication that takes `matmul_ns`, and of attention, each with a little noise.
fn trace(matmul_ns: u64, has_run: bool) -> Value {
    let (mut site, mut parent, mut start, mut duration) = (vec![], vec![], vec![], vec![]);
    let mut push = |of: u64, above: Option<u64>, from: u64, ns: u64| {
        site.push(of);
        parent.push(above);
        start.push(from);
        duration.push(ns);
    };
    push(0, None, 0, 0);
    let mut now = 0;
    for step in 0..STEPS {
        // As if by chance: no step is like the one before.
        let noise = step * 37 % 61;
        let (matmul, attention) = (matmul_ns + noise * 10, 20_000 + (step * 53 % 59) * 10);
        let above = 1 + 3 * step;
        push(1, Some(0), now, matmul + attention + 500);
        push(2, Some(above), now, matmul);
        push(3, Some(above), now + matmul, attention);
        now += matmul + attention + 500;
    }
    duration[0] = now;
    let thread = vec![0; site.len()];
    let tokens: Vec<u64> = site.iter().map(|of| u64::from(*of == 1)).collect();
    let mut trace = json!({
        "schema": "carnot.trace", "version": 1, "duration_ns": now,
        "threads": [{ "id": 0, "name": "main" }],
        "sites": [
            { "name": "decode", "kind": "phase", "file": "", "line": 0 },
            { "name": "step", "kind": "step", "file": "", "line": 0 },
            { "name": "matmul q8_0 down", "kind": "operation", "file": "", "line": 0 },
            { "name": "attention", "kind": "operation", "file": "", "line": 0 },
        ],
        "spans": { "site": site, "thread": thread, "parent": parent, "start_ns": start, "duration_ns": duration, "tokens": tokens },
    });
    if has_run {
        trace["run"] = json!({
            "model": { "name": "m", "architecture": "llama", "parameters": 1, "file_type": "Q8_0", "bytes": 1 },
            "threads": 1,
            "machine": {
                "schema": "carnot.machine", "version": 1, "fingerprint": "", "threads": 1, "bandwidth": [], "peaks": [], "dispatch": [],
                "cpu": { "model": "test", "features": [], "logical_cores": 1, "caches": [] },
                "barrier_ns": 0.0, "span_ns": 0.0, "clock_read_ns": 0.0, "measured_unix_s": 0,
            },
        });
    }
    trace
}

#[test]
fn the_operation_that_grew_is_found() {
    let folder = files(&[
        ("old.trace", trace(60_000, false).to_string()),
        ("new.trace", trace(90_000, false).to_string()),
    ]);
    let worse = compare_files(&folder, "old.trace", "new.trace", &[]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    for told in [
        "\nworse: decode step +37.",
        "decode matmul q8_0 down +49.",
        "kernel/matmul q8_0 grew most, by 37.",
        "96 → 96",
        "60.3 µs → 90.3 µs",
        "warning: the traces do not say what the machine allows: losses are told without a floor",
        "warning: one run each",
    ] {
        assert!(worse.stdout.contains(told), "{told} in {}", worse.stdout);
    }
    assert!(!worse.stdout.contains("decode attention +"), "{worse:?}");
    let better = compare_files(&folder, "new.trace", "old.trace", &[]).success();
    assert!(better.contains("\nbetter: decode step -27."), "{better}");
    let json = compare_files(&folder, "old.trace", "new.trace", &["--format", "json"]).stdout;
    let told: Value = serde_json::from_str(&json).unwrap();
    let rows = told["records"][0]["metrics"].as_array().unwrap();
    let verdicts: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap(),
                row["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("decode step", "worse"),
        ("decode matmul q8_0 down", "worse"),
        ("decode attention", "no difference"),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!(rows[0]["values"], json!([96, 96]));
    let moved = &told["records"][0]["operations"][0];
    assert_eq!(
        (&moved["name"], &moved["current"]["count"]),
        (&json!("decode matmul q8_0 down"), &json!(96))
    );
    let losses = told["records"][0]["losses"].to_string();
    assert!(!losses.contains("floor"), "nothing is invented: {losses}");
}

#[test]
fn a_trace_of_the_embedded_model_says_what_ran_where() {
    let folder = tempfile::tempdir().unwrap();
    let output = text(folder.path());
    carnot(&[
        "profile",
        "--tokens",
        "4",
        "--warmup",
        "0",
        "--emit",
        "trace,json",
        "--output",
        output,
    ])
    .success();
    let same = compare_files(&folder, "trace.json", "trace.json", &["--format", "json"]);
    assert!(matches!(same.code, Some(0 | 3)), "{same:?}");
    let told: Value = serde_json::from_str(&same.stdout).unwrap();
    let compared = &told["records"][0];
    assert_eq!(compared["title"], "trace, embedded Q8_0");
    let losses = compared["losses"].as_array().unwrap();
    let floor = losses.iter().find(|loss| loss["name"] == "floor").unwrap();
    assert!(floor["baseline_ns"].as_f64().unwrap() > 0.0, "{floor}");
    let names: Vec<&str> = compared["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert!(
        names.contains(&"prefill step") && names.contains(&"decode step"),
        "{names:?}"
    );
    compare_files(&folder, "trace.json", "profile.json", &[]).failure(
        2,
        &[
            "trace.json",
            "profile.json",
            "the baseline is a trace, the current file a profile",
            "--emit trace,json",
        ],
    );
}

#[test]
fn traces_that_cannot_be_compared_are_named_in_a_line() {
    let whole = trace(60_000, true);
    let change = |path: &str, value: Value| {
        let mut changed = whole.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let text = whole.to_string();
    let folder = files(&[
        ("good.trace", text.clone()),
        ("empty.trace", String::new()),
        ("cut.trace", text[..text.len() / 2].to_owned()),
        ("chrome.trace", "{\"traceEvents\": []}".to_owned()),
        ("newer.trace", change("/version", json!(9))),
        ("columns.trace", change("/spans/site/5", json!(77))),
        ("silent.trace", change("/sites/0/name", json!("load"))),
        ("threads.trace", change("/run/threads", json!(8))),
        ("model.trace", change("/run/model/bytes", json!(2))),
        (
            "cpu.trace",
            change("/run/machine/cpu/model", json!("other")),
        ),
        ("tokens.trace", change("/spans/tokens/1", json!(5))),
        ("untold.trace", trace(60_000, false).to_string()),
    ]);
    let cases: [(&str, &[&str]); 12] = [
        ("missing.trace", &["No such file", "--emit trace"]),
        ("empty.trace", &["it is empty"]),
        ("cut.trace", &["not all of it"]),
        ("chrome.trace", &["no field \"schema\"", "--emit trace"]),
        ("newer.trace", &["version 9", "a newer carnot reads it"]),
        (
            "columns.trace",
            &["spans.site[5]", "an index below 4", "found 77"],
        ),
        (
            "silent.trace",
            &["the current file has no step or operation", "--emit trace"],
        ),
        (
            "threads.trace",
            &[
                "the number of threads differs: 1 in the baseline, 8 now",
                "--force",
            ],
        ),
        ("model.trace", &["the model differs", "--force"]),
        (
            "cpu.trace",
            &[
                "the processor differs: test in the baseline, other now",
                "--force",
            ],
        ),
        (
            "tokens.trace",
            &[
                "the condition decode differs: 96 tokens, repetitions: 1 in the baseline, 100 tokens",
                "--force",
            ],
        ),
        (
            "untold.trace",
            &[
                "the processor differs: test in the baseline, not told now",
                "--force",
            ],
        ),
    ];
    for (name, mentions) in cases {
        let outcome = compare_files(&folder, "good.trace", name, &[]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        outcome.failure(2, &[mentions, &[name, "carnot: "]].concat());
    }
    let forced = compare_files(&folder, "good.trace", "threads.trace", &["--force"]).success();
    assert!(
        forced.contains("warning: the number of threads differs"),
        "{forced}"
    );
}
