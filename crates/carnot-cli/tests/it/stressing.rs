//! `carnot bench stress` and `carnot bench memory-profile`: what is left of a server and of a process that had much to bear.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use crate::serving::Served;
use crate::{carnot, text};

const QUICK: [&str; 9] = [
    "bench",
    "stress",
    "--clients",
    "4",
    "--rate",
    "5",
    "--duration",
    "4",
    "-n",
];

fn record(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[track_caller]
fn values(record: &Value, metric: &str) -> Vec<f64> {
    let metrics = record["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|of| of["name"] == metric);
    let found = found.unwrap_or_else(|| panic!("no metric {metric}: {record}"));
    let values = found["values"].as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn a_server_of_its_own_bears_it_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stress.json");
    let told = carnot(&[&QUICK[..], &["8", "--output", text(&path)]].concat()).success();
    for kind in [
        "ordinary",
        "6 that leave",
        "slow reader",
        "half a request",
        "oversize prompt",
    ] {
        assert!(told.contains(kind), "{told}");
    }
    assert!(!told.contains("DOES NOT HOLD"), "{told}");
    assert!(told.contains("ends when it is asked to"), "{told}");
    let record = record(&fs::read_to_string(&path).unwrap());
    assert_eq!(record["schema"], "carnot.bench");
    assert_eq!(record["suite"], "stress");
    assert!(values(&record, "success")[0] >= 0.95, "{told}");
    assert!(!values(&record, "end_to_end").is_empty());
    for kind in [
        "broken JSON",
        "wrong types",
        "huge headers",
        "oversize prompt",
    ] {
        let metric = format!("as_expected/{kind}");
        if record["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|of| of["name"] == metric.as_str())
        {
            assert_eq!(values(&record, &metric), [1.0], "{kind}: {told}");
        }
    }
}

#[test]
fn a_server_that_is_there_already_is_left_as_it_was() {
    let served = Served::start_with(&[], &[]);
    let url = served.url();
    let json = carnot(&[&QUICK[..], &["8", "--url", &url, "--format", "json"]].concat()).success();
    assert_eq!(record(&json)["url"], url.as_str());
    served.wait_for_rest();
}

#[test]
fn a_server_that_refuses_too_many_fails() {
    // It answers the first request, which only shows that it is there, and none after it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut answered = false;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap_or(0);
            let is_post = asked[..count].starts_with(b"POST");
            let answer = if is_post && !answered {
                answered = true;
                "200 OK\r\ncontent-length: 14\r\n\r\ndata: [DONE]\n\n"
            } else {
                "503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
            };
            let answer = format!(
                "HTTP/1.1 {}",
                answer.replacen("\r\n", "\r\nconnection: close\r\n", 1)
            );
            // Some have left already.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let outcome = carnot(&[&QUICK[..], &["8", "--url", &url]].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("status 503"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("expected at least 95 %"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("DOES NOT HOLD"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    carnot(&["bench", "stress", "--url", &url]).failure(1, &[&url, "refused"]);
    carnot(&["bench", "stress", "--rate", "0"]).failure(2, &["requests a second"]);
    carnot(&["bench", "stress", "x.gguf", "--url", &url]).failure(2, &["cannot be used with"]);
}

#[test]
fn a_model_that_is_loaded_again_and_again_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.json");
    let arguments = [
        "--cycles",
        "3",
        "-n",
        "4",
        "--context",
        "512",
        "--track",
        "--output",
        text(&path),
    ];
    let outcome = carnot(&[&["bench", "memory-profile"], &arguments[..]].concat());
    assert_eq!(
        outcome.code,
        Some(3),
        "three cycles say nothing: {outcome:?}"
    );
    assert!(
        outcome.stdout.contains("inconclusive"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("heap"), "{}", outcome.stdout);
    let record = record(&fs::read_to_string(&path).unwrap());
    let (before, after) = (
        values(&record, "before_load"),
        values(&record, "after_unload"),
    );
    let delta: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(values(&record, "memory_delta"), delta);
    let loaded = values(&record, "loaded");
    assert_eq!(loaded.len(), 3);
    assert!(
        loaded
            .iter()
            .zip(&after)
            .all(|(loaded, after)| loaded > after),
        "{record}"
    );
}
