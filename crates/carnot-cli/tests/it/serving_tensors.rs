//! `carnot serve` with a tensor model, over a socket.

use std::path::PathBuf;

use carnot_engine::Tensor;
use carnot_onnx::{DataType, Dimension, GraphBuilder};
use serde_json::{Value, json};

use crate::serving::Served;

/// A layer with a rectifier: `relu(x · w)`, in a folder of its own.
fn layer() -> (tempfile::TempDir, PathBuf) {
    let mut builder = GraphBuilder::new("layer", 17);
    let rows = || Dimension::Named("rows".to_owned());
    builder.input("x", DataType::FLOAT, [rows(), Dimension::Fixed(2)]);
    let weight = Tensor::from_f32("w", [2, 3], vec![1.0, 2.0, 3.0, -1.0, -2.0, -3.0]).unwrap();
    builder.weight(&weight);
    builder.node("MatMul", &["x", "w"], &["h"]);
    builder.node("Relu", &["h"], &["y"]);
    builder.output("y", DataType::FLOAT, [rows(), Dimension::Fixed(3)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.onnx");
    std::fs::write(&path, builder.finish().to_bytes()).unwrap();
    (folder, path)
}

fn start(path: &std::path::Path, more: &[&str]) -> Served {
    let model = path.to_str().unwrap();
    Served::start(&[&[model, "--engine", "embedded"], more].concat())
}

#[test]
fn an_onnx_file_is_served() {
    let (_folder, path) = layer();
    let served = start(&path, &["--max-batch", "4", "--instances", "2"]);
    let described = served.ask("GET", "/v2/models/layer", &Value::Null);
    assert_eq!(described["platform"], "rten_onnx");
    assert_eq!(described["inputs"][0]["shape"], json!([-1, 2]));
    let input =
        json!({ "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[2, 1], [1, 2]] });
    let body = json!({ "inputs": [input] });
    let answer = served.ask("POST", "/v2/models/layer/infer", &body);
    let data = &answer["outputs"][0]["data"];
    assert_eq!(*data, json!([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]), "{answer}");
    let refused = served.complete(&json!({ "prompt": "x", "max_tokens": 1 }));
    assert_eq!(refused["error"]["code"], "model_not_found");
    let refused = served.ask("POST", "/v2/repository/models/layer/unload", &json!({}));
    assert_eq!(
        refused["error"],
        "this server loads and unloads no models while it runs"
    );
    assert!(served.end(1).success());
}

#[test]
fn load_comes_by_the_protocol() {
    let (_folder, path) = layer();
    let served = start(&path, &[]);
    let url = served.url();
    let load = [
        "bench",
        "serve",
        "--url",
        &url,
        "--protocol",
        "oip",
        "--model",
        "layer",
        "--clients",
        "4",
        "--duration",
        "1",
    ];
    let told = crate::carnot(&[&load[..], &["--format", "json"]].concat()).success();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told.is_object());
    let model = served.ask("GET", "/stats", &Value::Null)["tensor_models"][0].take();
    // What was under way when the time was over may have been given up.
    let count = |field: &str| model[field].as_u64().unwrap();
    assert!(
        count("rows") > 0 && count("rows") <= count("accepted"),
        "{model}"
    );
    assert!(count("batches") <= count("rows"), "{model}");
}

#[test]
fn texts_and_tensors_are_served_side_by_side() {
    let (_folder, path) = layer();
    let embedded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../models/embedded-q8_0.gguf"
    );
    let served = start(&path, &[embedded, "--model-control"]);
    let answer = served.complete(&json!({ "prompt": "def f(x):\n", "max_tokens": 2 }));
    assert!(answer["choices"][0]["text"].is_string(), "{answer}");
    let unload = "/v2/repository/models/layer/unload";
    assert_eq!(served.ask("POST", unload, &json!({})), json!({}));
    let gone = served.ask("GET", "/v2/models/layer", &Value::Null);
    assert_eq!(gone["error"], "layer is unloaded");
    assert_eq!(
        served.ask("POST", "/v2/repository/models/layer/load", &json!({})),
        json!({})
    );
    assert_eq!(
        served.ask("GET", "/v2/models/layer/ready", &Value::Null)["ready"],
        true
    );
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.onnx");
    std::fs::write(&path, b"not a model").unwrap();
    let path = path.to_str().unwrap();
    let arguments = ["serve", path, "--port", "0", "--engine", "embedded"];
    crate::carnot(&arguments).failure(1, &["broken.onnx", "not an ONNX model"]);
}
