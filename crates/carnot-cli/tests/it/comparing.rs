//! `carnot compare`: its verdicts, and the exit codes that a script acts on.

use serde_json::Value;

use crate::carnot;

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
