//! `carnot monitor` and `carnot metrics`: a machine, a process and a server, without a terminal.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::serving::Served;
use crate::{carnot, text};

const QUICK: [&str; 5] = ["monitor", "--interval", "0.2", "--duration", "0.5"];

/// The samples at 0.2, 0.4 and 0.5 s; where the machine is busy, those that were overdue are left out, but for the last.
fn are_all(samples: usize) -> bool {
    (1..=3).contains(&samples)
}

/// A port of this machine where nobody listens.
fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

fn ask(served: &Served) {
    served.complete(&json!({ "prompt": "def f(x):\n", "max_tokens": 24, "ignore_eos": true }));
}

/// The value of a number that is known.
#[track_caller]
fn number(object: &Value, field: &str) -> f64 {
    let value = object[field].as_f64();
    value.unwrap_or_else(|| panic!("expected a number `{field}`: {object}"))
}

#[test]
fn lines_say_what_the_machine_does() {
    let told = carnot(&QUICK).success();
    let lines: Vec<&str> = told.lines().collect();
    assert!(are_all(lines.len()), "{told}");
    for line in lines {
        assert!(line.contains("Z  cpu ") && line.contains(" GB"), "{line}");
        assert!(!line.contains("cpu –"), "{line}");
    }
}

#[test]
fn objects_have_the_fields_that_are_documented() {
    let served = Served::start_with(&[], &[]);
    let (url, pid) = (served.url(), served.pid());
    let arguments = ["--format", "json", "--url", &url, "--pid", &pid];
    let asking = std::thread::spawn(move || {
        ask(&served);
        served
    });
    let told = carnot(&[&QUICK[..], &arguments].concat()).success();
    drop(asking.join().unwrap());
    let samples: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(are_all(samples.len()), "{told}");
    for sample in &samples {
        assert!(number(sample, "timestamp") > 1.7e9, "{sample}");
        assert!(
            (0.0..=100.0).contains(&number(sample, "cpu_usage")),
            "{sample}"
        );
        let share = 100.0 * number(sample, "memory_used_mb") / number(sample, "memory_total_mb");
        assert!(
            (share - number(sample, "memory_usage_percent")).abs() < 0.1,
            "{sample}"
        );
        assert!(number(sample, "processes") >= 2.0, "{sample}");
        assert!(number(&sample["process"], "rss_mb") > 1.0, "{sample}");
        assert!(
            number(&sample["server"], "requests_running") >= 0.0,
            "{sample}"
        );
        assert!(number(&sample["server"], "tokens_per_s") >= 0.0, "{sample}");
        assert_eq!(sample["server"]["error"], Value::Null);
    }
    let page = include_str!("../../../../docs/monitoring.md");
    let missing = |object: &Value| -> Vec<String> {
        let fields = object.as_object().unwrap().keys();
        let told = |field: &&String| !page.contains(&format!("`{field}`"));
        fields.filter(told).cloned().collect()
    };
    for object in [&samples[0], &samples[0]["server"], &samples[0]["process"]] {
        assert_eq!(
            missing(object),
            [""; 0],
            "fields without a row in docs/monitoring.md"
        );
    }
}

#[test]
fn rows_stand_under_their_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.csv");
    let arguments = ["--format", "csv", "--output", text(&path)];
    assert_eq!(carnot(&[&QUICK[..], &arguments].concat()).success(), "");
    let told = fs::read_to_string(&path).unwrap();
    let cells: Vec<Vec<&str>> = told.lines().map(|line| line.split(',').collect()).collect();
    assert!(are_all(cells.len() - 1), "rows under a header: {told}");
    assert!(cells[0].starts_with(&["timestamp", "cpu_usage"]), "{told}");
    assert!(
        cells.iter().all(|row| row.len() == cells[0].len()),
        "{told}"
    );
    assert!(
        cells[1..].iter().all(|row| row[1].parse::<f64>().is_ok()),
        "{told}"
    );
}

#[test]
fn a_server_that_is_not_there_is_told_once_and_sampling_goes_on() {
    let url = nobody();
    let outcome = carnot(&[&QUICK[..], &["--format", "json", "--url", &url]].concat());
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&url), "{}", outcome.stderr);
    let told = outcome.success();
    assert!(are_all(told.lines().count()), "{told}");
    for line in told.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        assert!(
            sample["server"]["error"].as_str().unwrap().contains(&url),
            "{line}"
        );
        assert_eq!(sample["server"]["requests_running"], Value::Null, "not 0");
        assert!(number(&sample, "cpu_usage") >= 0.0);
    }
    let told = carnot(&[&QUICK[..], &["--url", &url]].concat()).success();
    let naming = told.lines().filter(|line| line.contains(&url)).count();
    assert!(are_all(naming), "a line under each: {told}");
}

#[test]
fn what_cannot_be_watched_is_wrong_usage() {
    carnot(&["monitor", "--url", "ftp://x"]).failure(2, &["http://HOST:PORT", "ftp://x"]);
    carnot(&["monitor", "--interval", "0"]).failure(2, &["0.1"]);
    carnot(&["monitor", "--duration=-1"]).failure(2, &["seconds from 0"]);
    let gone = ["--pid", "4194999", "--format", "json"];
    let told = carnot(&[&QUICK[..], &gone].concat()).success();
    let sample: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(sample["process"]["rss_mb"], Value::Null, "{sample}");
}

#[test]
fn metrics_of_a_server_come_in_every_form() {
    let served = Served::start_with(&[], &[]);
    ask(&served);
    let url = served.url();
    let export =
        |format| carnot(&["metrics", "export", "--url", &url, "--format", format]).success();
    let plain = export("prometheus");
    assert!(
        plain.contains("# TYPE carnot_generated_tokens_total counter\n"),
        "{plain}"
    );
    let open = export("openmetrics");
    assert!(
        open.contains("# TYPE carnot_generated_tokens counter\n"),
        "{open}"
    );
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    let told: Value = serde_json::from_str(&export("json")).unwrap();
    assert_eq!(told["source"], url.as_str());
    let metrics = told["metrics"].as_array().unwrap();
    let tokens = metrics
        .iter()
        .find(|of| of["name"] == "carnot_generated_tokens_total");
    assert_eq!(tokens.unwrap()["samples"][0]["value"], 24.0, "{told}");
    for text in [plain, export("prometheus")] {
        complaints(&text);
    }
}

#[test]
fn a_server_that_was_named_and_is_not_there_is_a_failure() {
    let url = nobody();
    carnot(&["metrics", "export", "--url", &url]).failure(1, &[&url, "refused"]);
    carnot(&["metrics", "snapshot", "--url", &url]).failure(1, &[&url, "refused"]);
}

#[test]
fn a_snapshot_is_one_object() {
    let told: Value = serde_json::from_str(&carnot(&["metrics", "snapshot"]).success()).unwrap();
    assert!(number(&told, "memory_total_mb") > 0.0, "{told}");
    assert_eq!(told.get("server"), None);
    let pretty = carnot(&["metrics", "snapshot", "--pretty"]).success();
    assert!(pretty.lines().count() > 10, "{pretty}");
}

/// What `promtool`, where it is installed, has to say of a page of metrics: nothing.
fn complaints(metrics: &str) {
    let checking = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checking) = checking else { return };
    checking
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let told = checking.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && text.trim().is_empty(), "{text}");
}

/// Whether the process runs; one that ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = state.rsplit(')').next().unwrap_or_default();
    !matches!(
        after_name.trim_start().chars().next(),
        None | Some('Z' | 'X')
    )
}

/// Waits until it is so, and fails after half a minute.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_screen_ends_with_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (pid_file, typescript) = (folder.path().join("pid"), folder.path().join("typescript"));
    let line = format!(
        "stty rows 40 cols 120; echo $$ > {}; exec {} monitor --interval 0.2",
        pid_file.display(),
        env!("CARGO_BIN_EXE_carnot")
    );
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--command", &line])
        .arg(&typescript)
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("script, of bsdutils");
    let drawn = || fs::read_to_string(&typescript).is_ok_and(|told| told.contains("machine"));
    wait_until("the screen is drawn", drawn);
    let pid = fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    assert!(runs(&pid), "it ended before its terminal");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    wait_until("the monitor ends", || !runs(&pid));
}
