//! `carnot compare --history` and the report of `--a` and `--b`.

use std::fs;

use serde_json::{Value, json};

use crate::comparing::{files, record};
use crate::{Outcome, carnot, command, outcome, text};

/// A run on a day of November 2026.
fn run(day: u64, commit: &str, request_s: f64, threads: u32) -> Value {
    let mut record = record(request_s);
    record["begun_unix_s"] = json!(1_793_491_200 + 86_400 * (day - 1) + 3_600);
    record["commit"] = json!(commit);
    record["machine"]["threads"] = json!(threads);
    record
}

/// A history of a fast week, a slow commit after it, and a single run with other threads.
fn history() -> tempfile::TempDir {
    let mut runs: Vec<Value> = (1..=7).map(|day| run(day, "aaaa1111", 0.1, 4)).collect();
    runs.extend((8..=10).map(|day| run(day, "bbbb1111", 0.13, 4)));
    runs.push(run(9, "bbbb2222", 0.1, 8));
    let mut memory = run(8, "bbbb1111", 0.1, 4);
    memory["suite"] = json!("memory");
    runs.push(memory);
    let folder = files(&[
        ("runs.json", Value::from(runs).to_string()),
        ("text.db", "no database".repeat(99)),
    ]);
    let (database, file) = (
        folder.path().join("history.db"),
        folder.path().join("runs.json"),
    );
    carnot(&["history", "add", "--file", text(&database), text(&file)]).success();
    folder
}

fn compare(folder: &tempfile::TempDir, baseline: &str, current: &str, more: &[&str]) -> Outcome {
    let database = folder.path().join("history.db");
    let runs = [
        "compare",
        "--history",
        text(&database),
        "--baseline",
        baseline,
        "--current",
        current,
    ];
    carnot(&[&runs[..], more].concat())
}

#[test]
fn runs_of_a_history_are_pooled_and_compared() {
    let folder = history();
    let report = folder.path().join("report.md");
    let more = ["--suite", "inference", "--report", text(&report)];
    let worse = compare(&folder, "2026-11-01..2026-11-07", "bbbb1", &more);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    for told in [
        "bbbb1 against 2026-11-01..2026-11-07 of the history ",
        "inference; 4 threads, tokens=64; runs: 3 against 7",
        "\nworse: request +30.00 %, request p95 +30.00 %, decode -23.08 %; kernel/matmul q8_0 grew most, by 30.0 % of the baseline's time\n",
    ] {
        assert!(worse.stdout.contains(told), "{told} in {}", worse.stdout);
    }
    let report = fs::read_to_string(report).unwrap();
    assert!(report.starts_with("# carnot compare\n"), "{report}");
    let better = compare(&folder, "bbbb1", "..2026-11-07", &["--suite", "inference"]).success();
    assert!(better.contains("\nbetter: request -23.08 %"), "{better}");
    let json = compare(&folder, "last:20", "bbbb1..", &["--format", "json"]);
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        told["records"][0]["metrics"][0]["values"],
        json!([280, 120]),
        "of the last twenty those that are not of the commit"
    );
    let warnings = &told["records"][0]["warnings"];
    let alone = "inference with 8 threads, tokens=64 is only in the current runs";
    assert!(
        warnings.as_array().unwrap().contains(&json!(alone)),
        "{warnings}"
    );
}

#[test]
fn the_history_of_the_user_is_the_default() {
    let folder = history();
    let arguments = [
        "compare",
        "--history",
        "--baseline",
        "2026-11-01..2026-11-03",
        "--current",
        "2026-11-04..2026-11-07",
    ];
    let database = folder.path().join("history.db");
    let found = command(&arguments)
        .env("CARNOT_HISTORY", &database)
        .output()
        .unwrap();
    let same = outcome(found).success();
    assert!(same.contains("runs: 4 against 3"), "{same}");
}

#[test]
fn runs_that_cannot_be_compared_are_named_in_a_line() {
    let folder = history();
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "main",
            "bbbb1",
            &["--baseline main", "expected a commit", "last:N"],
        ),
        (
            "aaaa",
            "2026-12-24",
            &["--current 2026-12-24", "carnot history list"],
        ),
        ("aaaa", "ffff", &["--current ffff", "begins with ffff"]),
        ("bbbb", "aaaa", &["bbbb1111, bbbb2222", "name more digits"]),
        (
            "last:2",
            "last:2",
            &["--baseline last:2", "name earlier ones"],
        ),
        (
            "aaaa",
            "bbbb2",
            &[
                "the number of threads differs: 4 in the baseline, 8 now",
                "--force",
            ],
        ),
        (
            "2026-11-02..2026-11-01",
            "bbbb1",
            &["no run is of that time"],
        ),
        ("aaaa..last:2", "bbbb1", &["expected a commit"]),
    ];
    for (baseline, current, mentions) in cases {
        let outcome = compare(&folder, baseline, current, &[]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        outcome.failure(2, &[mentions, &["carnot: "]].concat());
    }
    let forced = compare(&folder, "aaaa", "bbbb2", &["--force"]).success();
    assert!(
        forced.contains("warning: the number of threads differs"),
        "{forced}"
    );
    let at = |name: &str| folder.path().join(name);
    let of = |name: &str| {
        let file = at(name);
        carnot(&[
            "compare",
            "--history",
            text(&file),
            "--baseline",
            "aaaa",
            "--current",
            "bbbb1",
        ])
    };
    of("missing.db").failure(2, &["missing.db", "carnot history add"]);
    assert!(!at("missing.db").exists(), "reading makes no history");
    of("text.db").failure(2, &["text.db", "not a database"]);
    carnot(&["compare", "--history", "x", "--current", "last:1"]).failure(2, &["--baseline"]);
}

#[test]
fn a_comparison_of_commands_is_written_as_markdown() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.md");
    let worse = carnot(&[
        "compare",
        "--a",
        "sleep 0.01",
        "--b",
        "sleep 0.05",
        "--report",
        text(&report),
    ]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    let report = fs::read_to_string(report).unwrap();
    for told in [
        "# carnot compare\n",
        " pairs of runs in turns, ",
        "- a: sleep 0.01\n- b: sleep 0.05\n",
        "**worse: b takes longer by ",
        "| median | a | b | b over a | interval | verdict |",
        "\n| wall time | ",
    ] {
        assert!(report.contains(told), "{told} in {report}");
    }
    let unwritten = carnot(&[
        "compare",
        "--a",
        "true",
        "--b",
        "true",
        "--report",
        "/nowhere/report.md",
    ]);
    assert_eq!(unwritten.code, Some(2), "{unwritten:?}");
    assert!(
        unwritten.stderr.contains("/nowhere/report.md"),
        "{unwritten:?}"
    );
}
