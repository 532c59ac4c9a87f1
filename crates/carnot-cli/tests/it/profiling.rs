//! `carnot profile`: the JSON's schema, its books, and the files.

use std::fs;

use serde_json::Value;

use crate::{carnot, measure_machine, schema, text};

const SHORT: [&str; 5] = ["profile", "--prompt-tokens", "40", "--tokens", "12"];

/// Every form and the file it is written to.
const FORMS: [(&str, &str); 12] = [
    ("html", "report.html"),
    ("perfetto", "trace.pftrace"),
    ("chrome", "trace.chrome.json"),
    ("flamegraph", "flamegraph.svg"),
    ("collapsed", "stacks.collapsed"),
    ("pprof", "profile.pb.gz"),
    ("speedscope", "profile.speedscope.json"),
    ("csv", "operations.csv"),
    ("markdown", "report.md"),
    ("json", "profile.json"),
    ("text", "report.txt"),
    ("trace", "trace.json"),
];

fn profile(arguments: &[&str]) -> String {
    measure_machine();
    carnot(&[&SHORT, arguments].concat()).success()
}

#[test]
fn the_json_has_the_documented_schema_and_its_books_balance() {
    let json = profile(&["--format", "json", "--emit", "none", "--repeat", "2"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    // What a run happens to be warned of, and what it happens to have to look at, is not part of the schema.
    let mut always = json.clone();
    for part in ["warnings", "bottlenecks", "losses"] {
        always.as_object_mut().unwrap().remove(part).unwrap();
    }
    insta::assert_snapshot!(schema(&always));
    let documented = include_str!("../../../../docs/profile-json.md");
    for row in schema(&json).lines() {
        let path = row.split(": ").next().unwrap().trim_start_matches('.');
        let field = path.rsplit('.').next().unwrap();
        let found = [path, field].map(|name| documented.contains(&format!("`{name}`")));
        assert!(found != [false; 2], "{path} is in docs/profile-json.md");
    }
    let integer = |value: &Value| value.as_i64().unwrap();
    let losses = json["losses"].as_array().unwrap();
    let lost: i64 = losses.iter().map(|loss| integer(&loss["ns"])).sum();
    assert_eq!(integer(&json["floor_ns"]) + lost, integer(&json["wall_ns"]));
    let loss = schema(&losses[0]);
    assert_eq!(loss, ".name: text\n.ns: integer\n.share: fraction\n");
    let tokens = |name: &str| {
        let phases = json["phases"].as_array().unwrap();
        let phase = phases.iter().find(|phase| phase["name"] == name).unwrap();
        integer(&phase["tokens"])
    };
    assert_eq!((tokens("prefill"), tokens("decode")), (2 * 40, 2 * 11));
    assert_eq!(json["probe"]["dropped"], 0);
}

#[test]
fn every_form_is_written_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    let names = FORMS.map(|(name, _)| name).join(",");
    let report = profile(&["--emit", &names, "--output", text(&out)]);
    assert!(report.contains("efficiency"), "{report}");
    for (name, file) in FORMS {
        let bytes = fs::read(out.join(file)).unwrap();
        assert!(!bytes.is_empty(), "{file}");
        assert!(report.contains(file), "{file} is named in: {report}");
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
        match name {
            "html" => assert!(begin.starts_with("<!doctype html"), "{begin}"),
            "flamegraph" => assert!(begin.contains("<svg"), "{begin}"),
            "pprof" => assert_eq!(bytes[..2], [0x1f, 0x8b]),
            "chrome" | "speedscope" | "json" | "trace" => {
                serde_json::from_slice::<Value>(&bytes).unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), FORMS.len());
}

#[test]
fn no_form_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    profile(&["--emit", "none", "--output", text(&out)]);
    assert!(!out.exists());
}

#[test]
fn a_form_that_is_unknown_is_wrong_usage() {
    carnot(&["profile", "--emit", "html,pdf"])
        .failure(2, &["pdf", "perfetto", "speedscope", "none"]);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    measure_machine();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let out = file.join("out");
    let arguments = [&SHORT[..], &["--output", text(&out)]].concat();
    carnot(&arguments).failure(1, &[text(&out)]);
}

#[test]
fn a_run_that_does_not_fit_the_context_says_what_to_change() {
    measure_machine();
    carnot(&["profile", "--prompt-tokens", "1000", "--tokens", "100"])
        .failure(1, &["1000", "100", "1024", "--tokens", "--context"]);
}
