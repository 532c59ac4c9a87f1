//! Load of tensors on a server that speaks as much of the Open Inference Protocol as a client needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use carnot_bench::load::{
    Arrivals, Endpoint, Error, Figures, Load, ModelMetadata, Objectives, Raw, Target, TensorShape,
    put, tensors,
};
use serde_json::{Value, json};

const MODEL: &str = r#"{"name": "m", "platform": "test", "inputs": [
    {"name": "x", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "mask", "datatype": "INT64", "shape": [-1, -1]}], "outputs": []}"#;

/// What a server says to the n-th inference.
type Manner = fn(usize) -> (u16, &'static str);

const WELL: (u16, &str) = (
    200,
    r#"{"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]}"#,
);

fn server(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                while let Some((path, body)) = request(&mut reader) {
                    let (status, text) = if path == "POST /v2/models/m/infer HTTP/1.1" {
                        check(&serde_json::from_slice(&body).unwrap());
                        manner(count.fetch_add(1, Ordering::Relaxed))
                    } else {
                        (404, "{\"error\": \"no such model\"}")
                    };
                    let length = text.len();
                    // A client may have left.
                    let _ = write!(
                        reader.get_mut(),
                        "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{text}"
                    );
                }
            });
        }
    });
    address
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Some((lines.swap_remove(0), body))
}

/// What comes is what the model wants.
#[track_caller]
fn check(body: &Value) {
    let [x, mask] = [&body["inputs"][0], &body["inputs"][1]];
    assert_eq!((&x["name"], &x["datatype"]), (&json!("x"), &json!("FP32")));
    assert_eq!(x["shape"], json!([2, 4]));
    assert_eq!(x["data"].as_array().unwrap().len(), 8);
    assert_eq!(mask["shape"], json!([2, 3]));
    let is_mask = |value: &Value| *value == json!(0) || *value == json!(1);
    assert!(mask["data"].as_array().unwrap().iter().all(is_mask));
}

fn load(address: SocketAddr, model: &str) -> Load {
    let mut target = Target::parse(&format!("http://{address}")).unwrap();
    target.endpoint = Endpoint::Infer;
    target.model = Some(model.to_owned());
    let metadata = ModelMetadata::parse(MODEL, "a test").unwrap();
    let asked = ["x:2,4", "mask:2,3"].map(|text| TensorShape::parse(text).unwrap());
    let shapes = metadata.shapes(&asked).unwrap();
    Load {
        target,
        arrivals: Arrivals::Constant { rate: 100.0 },
        duration: Duration::from_millis(300),
        asks: tensors(&metadata, &shapes, 7).unwrap(),
        think: Duration::ZERO,
        seed: 0,
    }
}

#[test]
fn inferences_and_their_rows_are_counted_and_failures_told() {
    // The first is not counted; of the thirty that follow, each third is refused, and each third is answered with something else.
    let address = server(|index| match index % 3 {
        0 => WELL,
        1 => (400, "{\"error\": \"expected 4 columns, got 5\"}"),
        _ => (200, "{\"text\": \"hello\"}"),
    });
    let run = put(&load(address, "m"), |_| ()).unwrap();
    let requests = Raw::of(&run);
    let figures = Figures::of(&requests, run.cores, Objectives::default());
    assert_eq!((figures.asked, figures.answered), (30, 10));
    assert_eq!(figures.rows, 20, "two of each that was answered");
    assert_eq!((figures.tokens, figures.prompt_tokens), (0, 0));
    assert!(figures.first.is_none() && figures.each.is_none());
    let [whole, service] = [figures.whole, figures.service_whole].map(Option::unwrap);
    assert_eq!((whole.count, service.count), (10, 10));
    assert!(whole.max >= service.max, "{whole:?} {service:?}");
    let mut failures = figures.failures;
    failures.sort();
    let [(answer, ten), (status, others)] = failures.as_slice() else {
        panic!("expected two failures, got {failures:?}");
    };
    assert!(answer.starts_with("answer: expected `outputs`: missing field"));
    assert_eq!(status, "status 400: expected 4 columns, got 5");
    assert_eq!((ten, others), (&10, &10));
}

#[test]
fn a_queue_that_grows_is_seen_without_a_first_text() {
    // One after another in 30 ms each, asked for every 10 ms.
    static BUSY: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let address = server(|_| {
        let _one = BUSY.lock().unwrap();
        thread::sleep(Duration::from_millis(30));
        WELL
    });
    let run = put(&load(address, "m"), |_| ()).unwrap();
    let found = carnot_bench::load::saturation(&Raw::of(&run)).unwrap();
    assert!(found.is_saturated, "{found:?}");
}

#[test]
fn a_model_that_is_not_there_is_told_before_anything_runs() {
    let address = server(|_| WELL);
    let error = put(&load(address, "other"), |_| ()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let expected = format!("http://{address}: status 404: no such model");
    assert_eq!(error.to_string(), expected);
}
