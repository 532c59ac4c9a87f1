//! `carnot bench serve --protocol oip` on a server of tensors of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use carnot_record::{BenchRecord, Record};
use serde_json::Value;

use super::{Outcome, carnot, text};

const MODEL: &str = r#"{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 2]}], "outputs": []}"#;

/// Describes its model, and takes a tensor of three sizes whose data are as many.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                while let Some((status, text)) = answer(&mut reader) {
                    let length = text.len();
                    // A client may have left.
                    let _ = write!(
                        reader.get_mut(),
                        "HTTP/1.1 {status} S\r\ncontent-length: {length}\r\n\r\n{text}"
                    );
                }
            });
        }
    });
    address
}

fn answer(reader: &mut BufReader<TcpStream>) -> Option<(u16, String)> {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(match first.trim() {
        "GET /v2/models/m HTTP/1.1" => (200, MODEL.to_owned()),
        "POST /v2/models/m/infer HTTP/1.1" => infer(&body),
        other => (404, format!("{{\"error\": \"nothing at {other}\"}}")),
    })
}

fn infer(body: &[u8]) -> (u16, String) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let input = &body["inputs"][0];
    let sizes = input["shape"].as_array().unwrap();
    let numbers: u64 = sizes.iter().map(|size| size.as_u64().unwrap()).product();
    let data = input["data"].as_array().unwrap().len() as u64;
    if data == numbers && sizes.len() == 3 {
        (200, "{\"model_name\": \"m\", \"outputs\": []}".to_owned())
    } else {
        let error = format!("{{\"error\": \"expected {numbers} numbers, got {data}\"}}");
        (400, error)
    }
}

/// A load of half a second, and what else is asked for.
fn infers(address: SocketAddr, rest: &[&str]) -> Outcome {
    let url = format!("http://{address}/v2");
    let asked = ["bench", "serve", "--protocol", "oip", "--url", &url];
    let load = ["--rate", "40", "--burstiness", "0", "--duration", "0.5"];
    carnot(&[&asked[..], &load, rest].concat())
}

fn record(outcome: &Outcome) -> BenchRecord {
    let is_told = matches!(outcome.code, Some(0 | 3));
    assert!(is_told, "3 where the machine is busy: {outcome:?}");
    BenchRecord::from_json(&outcome.stdout).unwrap()
}

#[test]
fn tensors_are_made_as_the_model_wants_them() {
    let address = server();
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw.jsonl");
    let model = ["--model", "m", "--shape", "x:4,3,2"];
    let kept = ["--raw", text(&raw), "--format", "json"];
    let told = record(&infers(address, &[&model[..], &kept].concat()));
    let of = |name: &str| &told.metric(name).unwrap().values;
    assert_eq!((of("end_to_end").len(), of("answered")), (20, &vec![1.0]));
    assert_eq!(of("service_end_to_end").len(), 20);
    let share = of("rows")[0] / of("inferences")[0];
    assert!((share - 4.0).abs() < 1e-9, "{share} rows an inference");
    assert!(told.metric("time_to_first_token").is_none(), "{told:?}");
    assert!(told.metric("output_tokens").is_none());
    assert_eq!(told.conditions["protocol"], "oip");
    assert_eq!(told.conditions["shapes"], "x:4,3,2");
    let url = ["--model", "m", "--from", text(&raw)];
    let again = infers(address, &url).stdout;
    assert!(again.contains("4.00 an inference"), "{again}");
    assert!(again.contains("from sending to end"), "{again}");
    assert!(!again.contains("first text"), "{again}");
}

#[test]
fn several_rates_and_bodies_of_a_file() {
    let address = server();
    let folder = tempfile::tempdir().unwrap();
    let bodies = folder.path().join("bodies.jsonl");
    let body = |rows: u32, data: &str| {
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{rows}, 1, 2], "data": [{data}]}}]}}"#
        )
    };
    let lines = [body(1, "1, 2"), body(2, "1, 2, 3, 4"), body(1, "1, 2, 3")];
    fs::write(&bodies, lines.join("\n")).unwrap();
    let asked = ["--model", "m", "--dataset", text(&bodies), "--format"];
    let told = record(&infers(address, &[&asked[..], &["json"]].concat()));
    let of = |name: &str| told.metric(name).unwrap().values[0];
    assert_eq!(of("answered"), 14.0 / 20.0, "each third body is too long");
    assert!((of("rows") / of("inferences") - 1.5).abs() < 1e-9);
    let outcome = infers(address, &[&asked[..], &["text"]].concat());
    let expected = "failed 6 times: status 400: expected 2 numbers, got 3";
    assert!(outcome.stdout.contains(expected), "{outcome:?}");
    let url = format!("http://{address}");
    let levels = ["bench", "serve", "--protocol", "oip", "--url", &url];
    let levels = [&levels[..], &["--model", "m", "--shape", "x:1,1,2"]].concat();
    let levels = carnot(&[&levels[..], &["--clients", "1,2", "--duration", "0.2"]].concat());
    assert!(matches!(levels.code, Some(0 | 3)), "{levels:?}");
    let is_head = |line: &&str| line.contains("end p90") && line.ends_with("rows/s");
    assert!(
        levels.stdout.lines().any(|line| is_head(&line)),
        "{levels:?}"
    );
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_runs() {
    let address = server();
    let open = ["input x", "-1,-1,2", "such as x:1,1,2"];
    infers(address, &["--model", "m"]).failure(1, &open);
    let misfit = ["--model", "m", "--shape", "x:1,1,3"];
    infers(address, &misfit).failure(1, &["input x", "-1,-1,2", "got 1,1,3"]);
    infers(address, &["--model", "n"]).failure(1, &["/v2/models/n", "got 404"]);
    infers(address, &[]).failure(1, &["--protocol oip", "--model"]);
    infers(address, &["--model", "m", "--chat"]).failure(1, &["--chat", "openai"]);
    infers(address, &["--model", "m", "--shape", "x"]).failure(2, &["NAME:SIZE", "got x"]);
    let text = ["bench", "serve", "--shape", "x:1"];
    carnot(&text).failure(1, &["--shape", "--protocol oip"]);
}
