//! `carnot compare` and `carnot history`: verdicts, and the exit codes that a script acts on.

use serde_json::{Value, json};

use crate::{Outcome, carnot, text};

#[test]
fn the_slower_is_found_from_either_side() {
    let (short, long) = ("sleep 0.01", "sleep 0.05");
    let worse = carnot(&["compare", "--a", short, "--b", long]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    assert!(
        worse.stdout.contains("\nworse: b takes longer by "),
        "{}",
        worse.stdout
    );
    assert!(
        worse.stdout.contains("pairs of runs in turns"),
        "{}",
        worse.stdout
    );
    let better = carnot(&["compare", "--a", long, "--b", short]).success();
    assert!(better.contains("\nbetter: b takes less by "), "{better}");
}

#[test]
fn what_does_not_matter_is_no_difference() {
    let arguments = [
        "compare",
        "--a",
        "sleep 0.02",
        "--b",
        "sleep 0.02",
        "--threshold",
        "99",
        "--format",
        "json",
    ];
    let told: Value = serde_json::from_str(&carnot(&arguments).success()).unwrap();
    let wall = &told["measures"][0];
    assert_eq!(wall["verdict"], "no difference");
    let pairs = wall["pairs"].as_array().unwrap().len();
    assert!([10, 20, 40, 80].contains(&pairs), "{pairs}");
    assert!(wall["change"]["confidence"].as_f64().unwrap() >= 0.99);
}

#[test]
fn what_fails_or_cannot_be_is_said_in_a_line() {
    carnot(&["compare", "--a", "true", "--b", "exit 7"])
        .failure(1, &["`exit 7`", "exit status: 7"]);
    carnot(&["compare", "--a", "true"]).failure(2, &["--b"]);
    carnot(&["compare", "--a", "true", "--b", "true", "--threshold", "0"]).failure(2, &["0.01"]);
}

/// A record as `carnot bench` writes it: latencies around `request_s`, a rate that falls as they rise, and two losses.
pub fn record(request_s: f64) -> Value {
    let around = |middle: f64| -> Vec<f64> {
        (0..40)
            .map(|index| middle * (1.0 + 0.001 * f64::from(index * 7 % 40)))
            .collect()
    };
    json!({
        "schema": "carnot.bench", "version": 1, "suite": "inference", "begun_unix_s": 1_795_376_040, "took_s": 9.0, "carnot": "0.1.0",
        "machine": { "cpu": "test", "threads": 4, "read_bandwidth_bytes_per_s": 0.0, "bandwidth_curve": [], "peak_int8_ops_per_s": 0.0, "peak_f32_flops": 0.0 },
        "conditions": { "tokens": "64" },
        "metrics": [
            { "name": "request", "unit": "s", "better": "lower", "values": around(request_s), "quantiles": [0.5, 0.95] },
            { "name": "decode", "unit": "tokens/s", "better": "higher", "values": around(1.0 / request_s), "quantiles": [0.5] },
        ],
        "losses": [
            { "name": "floor", "ns": around(6e7) },
            { "name": "kernel/matmul q8_0", "ns": around(4e7 + 1e9 * (request_s - 0.1)) },
        ],
    })
}

/// A directory of files with these texts.
pub fn files(texts: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in texts {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

pub fn compare_files(
    folder: &tempfile::TempDir,
    baseline: &str,
    current: &str,
    more: &[&str],
) -> Outcome {
    let (baseline, current) = (folder.path().join(baseline), folder.path().join(current));
    let files = [
        "compare",
        "--baseline",
        text(&baseline),
        "--current",
        text(&current),
    ];
    carnot(&[&files[..], more].concat())
}

#[test]
fn two_files_have_a_verdict_and_what_moved() {
    let folder = files(&[
        ("old.json", record(0.1).to_string()),
        ("new.json", record(0.12).to_string()),
    ]);
    let report = folder.path().join("report.md");
    let worse = compare_files(
        &folder,
        "old.json",
        "new.json",
        &["--report", text(&report)],
    );
    assert_eq!(worse.code, Some(1), "{worse:?}");
    let told = "\nworse: request +20.00 %, decode -16.67 %; kernel/matmul q8_0 grew most, by 20.0 % of the baseline's time\n";
    assert!(worse.stdout.contains(told), "{}", worse.stdout);
    let report = std::fs::read_to_string(report).unwrap();
    assert!(
        report.contains("| request | 102 ms | 122 ms | +20.00 % |"),
        "{report}"
    );
    assert!(report.contains("| kernel/matmul q8\\_0 |"), "{report}");
    let better = compare_files(&folder, "new.json", "old.json", &[]).success();
    assert!(
        better.contains("\nbetter: request -16.67 %, decode +20.00 %\n"),
        "{better}"
    );
    let same = compare_files(
        &folder,
        "old.json",
        "new.json",
        &["--threshold", "50", "--format", "json"],
    )
    .success();
    let same: Value = serde_json::from_str(&same).unwrap();
    let row = &same["records"][0]["metrics"][0];
    assert_eq!(
        (&row["verdict"], &row["values"]),
        (&json!("no difference"), &json!([40, 40]))
    );
    assert_eq!(
        same["records"][0]["losses"][0]["name"],
        "kernel/matmul q8_0"
    );
}

#[test]
fn lists_of_records_are_paired_and_few_values_are_inconclusive() {
    let mut other = record(0.1);
    other["suite"] = json!("memory");
    let mut few = record(0.1);
    few["metrics"][0]["values"] = json!([0.1, 0.15]);
    let list = json!([other, record(0.1)]).to_string();
    let folder = files(&[
        ("baseline_results.json", list),
        ("few.json", few.to_string()),
        ("one.json", json!([few]).to_string()),
    ]);
    let directory = folder.path().to_owned();
    let same = carnot(&[
        "compare",
        "--baseline",
        text(&directory),
        "--current",
        text(&directory),
    ])
    .success();
    assert!(
        same.contains("\nmemory\n") && same.contains("no difference of more than 10 % is certain"),
        "{same}"
    );
    let alone = compare_files(&folder, "baseline_results.json", "one.json", &[]);
    assert!(
        alone
            .stdout
            .contains("warning: memory is only in the baseline"),
        "{alone:?}"
    );
    let few = compare_files(&folder, "few.json", "few.json", &[]);
    assert_eq!(few.code, Some(3), "{few:?}");
    assert!(
        few.stdout
            .contains("\ninconclusive: about 6 values in each would tell\n"),
        "{}",
        few.stdout
    );
}

#[test]
fn two_profiles_are_compared_and_prove_nothing() {
    let profile = |wall_ns: u64| {
        let machine = record(0.1)["machine"].clone();
        json!({
            "schema": "carnot.profile", "version": 1, "machine": machine,
            "model": { "name": "m", "architecture": "llama", "parameters": 1, "file_type": "Q8_0", "bytes": 1 },
            "wall_ns": wall_ns, "floor_ns": 400, "efficiency": 0.5, "losses": [{ "name": "wait", "ns": wall_ns - 400, "share": 0.5 }],
            "phases": [], "operations": [], "bottlenecks": [], "probe": { "events": 0, "dropped": 0, "cost_ns": 0 }, "files": [],
        })
        .to_string()
    };
    let folder = files(&[
        ("old.json", profile(1000)),
        ("new.json", profile(1500)),
        ("bench.json", record(0.1).to_string()),
    ]);
    let worse = compare_files(&folder, "old.json", "new.json", &[]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    assert!(
        worse.stdout.contains("one run each proves nothing"),
        "{}",
        worse.stdout
    );
    assert!(
        worse.stdout.contains("wait grew most, by 50.0 %"),
        "{}",
        worse.stdout
    );
    compare_files(&folder, "old.json", "bench.json", &[]).failure(2, &["got one of each"]);
}

#[test]
fn files_that_cannot_be_compared_are_named_in_a_line() {
    let whole = record(0.1).to_string();
    let change = |path: &str, value: Value| {
        let mut changed = record(0.1);
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let mut void = record(0.1);
    void["void"] = json!("the client was late");
    let folder = files(&[
        ("good.json", whole.clone()),
        ("empty.json", String::new()),
        ("none.json", "[]".to_owned()),
        ("half.json", whole[..whole.len() / 2].to_owned()),
        ("text.json", "request 12 ms".to_owned()),
        (
            "other.json",
            "{\"schema\": \"carnot.machine\", \"version\": 1}".to_owned(),
        ),
        ("plain.json", "{}".to_owned()),
        ("newer.json", change("/version", json!(9))),
        ("machine.json", change("/machine/threads", json!(8))),
        ("condition.json", change("/conditions/tokens", json!("128"))),
        ("void.json", void.to_string()),
    ]);
    let cases: [(&str, &[&str]); 10] = [
        ("missing.json", &["No such file"]),
        ("empty.json", &["it is empty"]),
        ("none.json", &["a list of no records"]),
        ("half.json", &["not all of it"]),
        ("text.json", &["it is no JSON"]),
        ("other.json", &["\"carnot.machine\""]),
        ("plain.json", &["no field \"schema\""]),
        ("newer.json", &["version 9", "a newer carnot reads it"]),
        (
            "machine.json",
            &[
                "the number of threads differs: 4 in the baseline, 8 now",
                "--force",
            ],
        ),
        (
            "condition.json",
            &[
                "the condition tokens differs: 64 in the baseline, 128 now",
                "--force",
            ],
        ),
    ];
    for (name, mentions) in cases {
        let outcome = compare_files(&folder, "good.json", name, &[]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        outcome.failure(2, &[mentions, &[name, "carnot: "]].concat());
    }
    let forced = compare_files(&folder, "good.json", "machine.json", &["--force"]).success();
    assert!(
        forced.contains("warning: the number of threads differs"),
        "{forced}"
    );
    compare_files(&folder, "good.json", "void.json", &["--force"])
        .failure(2, &["void: the client was late", "measure again"]);
    carnot(&["compare", "--current", "x"]).failure(2, &["--baseline"]);
    carnot(&[
        "compare",
        "--a",
        "true",
        "--b",
        "true",
        "--current",
        "x",
        "--baseline",
        "y",
    ])
    .failure(2, &["cannot be used"]);
}

#[test]
fn records_that_commands_write_are_compared_in_turns() {
    let mut shorter = record(0.12);
    shorter["metrics"].as_array_mut().unwrap().reverse();
    let mut longer = record(0.1);
    longer["metrics"].as_array_mut().unwrap().reverse();
    let mut memory = record(0.1);
    memory["suite"] = json!("memory");
    let folder = files(&[
        ("a.json", longer.to_string()),
        ("b.json", shorter.to_string()),
        ("memory.json", memory.to_string()),
    ]);
    let cat = |name: &str| format!("cat {}", text(&folder.path().join(name)));
    let worse = carnot(&[
        "compare",
        "--a",
        &cat("a.json"),
        "--b",
        &cat("b.json"),
        "--warmup",
        "0",
    ]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    assert!(
        worse
            .stdout
            .contains("\nworse: decode of b is less by 16.67 %"),
        "{}",
        worse.stdout
    );
    assert!(
        worse
            .stdout
            .contains("; kernel/matmul q8_0 grew most, by 20.0 % of a's time\n"),
        "{}",
        worse.stdout
    );
    assert!(
        worse.stdout.contains("request p95") && worse.stdout.contains("wall time"),
        "{}",
        worse.stdout
    );
    let json = carnot(&[
        "compare",
        "--a",
        &cat("b.json"),
        "--b",
        &cat("a.json"),
        "--format",
        "json",
    ])
    .success();
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (
            &told["measures"][0]["name"],
            &told["measures"][0]["verdict"]
        ),
        (&json!("decode"), &json!("better"))
    );
    assert_eq!(told["losses"][0]["name"], "kernel/matmul q8_0");
    carnot(&["compare", "--a", &cat("a.json"), "--b", &cat("memory.json")])
        .failure(1, &["same suite", "memory of b"]);
    let mixed = carnot(&[
        "compare",
        "--a",
        &cat("a.json"),
        "--b",
        "echo no record",
        "--threshold",
        "99",
        "--format",
        "json",
    ]);
    let told: Value = serde_json::from_str(&mixed.stdout).unwrap();
    assert_eq!(
        told["measures"][0]["name"], "wall time",
        "time decides where there are no two records"
    );
}

#[test]
fn a_history_shows_where_a_metric_changed() {
    let at = |index: u64, request_s: f64| {
        let mut record = record(request_s);
        record["begun_unix_s"] = json!(1_795_376_040 + 86_400 * index);
        record
    };
    let runs: Vec<Value> = (0..20)
        .map(|index| {
            at(
                index,
                if index < 12 { 0.1 } else { 0.12 } + 0.0001 * (index % 3) as f64,
            )
        })
        .collect();
    let folder = files(&[
        ("runs.json", Value::from(runs).to_string()),
        ("text.db", "no database".repeat(99)),
    ]);
    let (file, database) = (
        folder.path().join("runs.json"),
        folder.path().join("history.db"),
    );
    let history =
        |arguments: &[&str]| carnot(&[&["history", "--file", text(&database)], arguments].concat());
    assert!(
        history(&["add", text(&file)])
            .success()
            .starts_with("20 added, 0 already there")
    );
    assert!(
        history(&["add", text(&file)])
            .success()
            .starts_with("0 added, 20 already there")
    );
    let listed = history(&["list", "--suite", "inference", "--metric", "decode"]).success();
    assert_eq!(listed.lines().count(), 21, "{listed}");
    assert!(listed.contains("2026-11-22 19:34  inference"), "{listed}");
    let shown = history(&["show", "request"]).success();
    assert!(shown.contains("\n▁▁▁▁▁▁▁▁▁▁▁▁"), "{shown}");
    assert_eq!(
        shown.matches('▲').count(),
        2,
        "a mark under the line and one in the table: {shown}"
    );
    assert!(shown.contains("▲ +19.9"), "{shown}");
    let json = history(&["show", "request", "--quantile", "0.95", "--format", "json"]).success();
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&told[0]["changes"][0]["index"], &told[0]["threads"]),
        (&json!(12), &json!("4"))
    );
    history(&["show", "nothing"]).failure(1, &["nothing", "decode, request"]);
    carnot(&[
        "history",
        "list",
        "--file",
        text(&folder.path().join("text.db")),
    ])
    .failure(1, &["text.db", "not a database"]);
}
