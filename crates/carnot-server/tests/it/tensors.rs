//! Tensor models over HTTP: the Open Inference Protocol, as its clients speak it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use carnot_cache::Cache;
use carnot_engine::{EngineError, Tensor, TensorEngine, TensorInfo, TensorModelInfo, TensorType};
use carnot_server::{Batching, ROUTES, Settings, TensorModel};
use serde_json::{Value, json};

use crate::{World, settings, with_keys, world_with};

/// Doubles rows of two numbers.
struct Doubling(TensorModelInfo);

impl TensorEngine for Doubling {
    fn model(&self) -> &TensorModelInfo {
        &self.0
    }

    fn run(&mut self, inputs: &[Tensor], _: Option<&[String]>) -> Result<Vec<Tensor>, EngineError> {
        let input = inputs[0].view::<f32>()?;
        let doubled: Vec<f32> = input.iter().map(|one| 2.0 * one).collect();
        Ok(vec![Tensor::from_f32(
            "y",
            [doubled.len() / 2, 2],
            doubled,
        )?])
    }

    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

fn doubling() -> Box<dyn TensorEngine> {
    let tensor = |name| TensorInfo::new(name, TensorType::Fp32, [None, Some(2)]);
    Box::new(Doubling(TensorModelInfo {
        name: "doubling".to_owned(),
        version: "1".to_owned(),
        platform: "test".to_owned(),
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        is_batchable: true,
        ..TensorModelInfo::default()
    }))
}

/// Gives back what it takes: half floats, strings and truth values. No rows.
struct Echo(TensorModelInfo);

impl TensorEngine for Echo {
    fn model(&self) -> &TensorModelInfo {
        &self.0
    }

    fn run(
        &mut self,
        inputs: &[Tensor],
        outputs: Option<&[String]>,
    ) -> Result<Vec<Tensor>, EngineError> {
        let wanted = self.0.check_outputs(outputs)?;
        let output = |index: usize| {
            let name = self.0.outputs[index].name.as_str();
            let input = inputs
                .iter()
                .find(|input| input.name() == &name[..name.len() - 1]);
            input.unwrap().clone().renamed(name)
        };
        Ok(wanted.into_iter().map(output).collect())
    }

    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

fn echo() -> Box<dyn TensorEngine> {
    let kinds = [
        ("h", TensorType::Fp16),
        ("s", TensorType::Bytes),
        ("b", TensorType::Bool),
    ];
    let tensors = |suffix: &str| -> Vec<TensorInfo> {
        let tensor = |(name, kind)| TensorInfo::new(format!("{name}{suffix}"), kind, [None]);
        kinds.into_iter().map(tensor).collect()
    };
    Box::new(Echo(TensorModelInfo {
        name: "echo".to_owned(),
        version: "1".to_owned(),
        inputs: tensors(""),
        outputs: tensors("2"),
        ..TensorModelInfo::default()
    }))
}

fn model(engine: Box<dyn TensorEngine>) -> TensorModel {
    TensorModel {
        engine,
        batching: Batching::default(),
        reopen: None,
    }
}

fn tensor_world(settings: Settings) -> World {
    world_with(settings, 1, |server| {
        let opened = AtomicU32::new(0);
        let reopen = move || match opened.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(doubling()),
            _ => Err("the file is gone".into()),
        };
        let doubling = TensorModel {
            reopen: Some(Box::new(reopen)),
            ..model(doubling())
        };
        server.tensors([doubling, model(echo())], true).unwrap()
    })
}

fn rows(data: &Value) -> Value {
    let rows = data.as_array().unwrap().len();
    json!({ "id": "one", "inputs": [{ "name": "x", "shape": [rows, 2], "datatype": "FP32", "data": data }] })
}

/// Sends a body of bytes, and reads the response's head and bytes.
fn post_bytes(port: u16, path: &str, header: &Value, bytes: &[u8]) -> (String, Vec<u8>) {
    let json = header.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n",
        json.len(),
        json.len() + bytes.len()
    );
    stream
        .write_all(&[head.as_bytes(), json.as_bytes(), bytes].concat())
        .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let end = response
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    (
        String::from_utf8(response[..end].to_vec())
            .unwrap()
            .to_lowercase(),
        response[end + 4..].to_vec(),
    )
}

#[test]
fn a_model_says_what_it_is_and_runs() {
    let world = tensor_world(settings());
    assert_eq!(world.client.get("/v2").json()["name"], "carnot");
    assert_eq!(
        world.client.get("/v2/health/ready").json(),
        json!({ "ready": true })
    );
    let described = world.client.get("/v2/models/doubling").json();
    let tensor = |name: &str| json!([{ "name": name, "datatype": "FP32", "shape": [-1, 2] }]);
    assert_eq!(
        described,
        json!({ "name": "doubling", "versions": ["1"], "platform": "test", "inputs": tensor("x"), "outputs": tensor("y") })
    );
    assert_eq!(
        world.client.get("/v2/models/doubling/ready").json()["ready"],
        true
    );
    let answer = world.client.post(
        "/v2/models/doubling/infer",
        &rows(&json!([[1, 2], [3.5, -4]])),
    );
    let answer = answer.json();
    assert_eq!(
        answer["outputs"],
        json!([{ "name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 7.0, -8.0] }])
    );
    assert_eq!(
        (&answer["model_name"], &answer["id"]),
        (&json!("doubling"), &json!("one"))
    );
    assert_eq!(answer["parameters"]["batch_rows"], 2);
    let versioned = world.client.post(
        "/v2/models/doubling/versions/1/infer",
        &rows(&json!([[1, 2]])),
    );
    assert_eq!(versioned.status, 200);
    let stats = world.client.get("/v2/models/doubling/stats").json();
    let stats = &stats["model_stats"][0];
    assert_eq!(
        (&stats["inference_count"], &stats["execution_count"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(stats["inference_stats"]["success"]["count"], 2);
    assert_eq!(stats["batch_stats"][1]["batch_size"], 2);
    assert_eq!(
        world.client.get("/v2/models/stats").json()["model_stats"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn what_is_wrong_is_said_in_the_protocols_shape() {
    let mut world = tensor_world(with_keys(&[("key", "a")]));
    let error = |response: crate::client::Response| {
        let message = response.json()["error"].as_str().unwrap().to_owned();
        (response.status, message)
    };
    assert_eq!(error(world.client.get("/v2/models/doubling")).0, 401);
    world.client.key = Some("key".to_owned());
    let (status, message) = error(world.client.get("/v2/models/tripling"));
    assert_eq!(
        (status, &*message),
        (404, "model: expected one of doubling, echo, got tripling")
    );
    assert_eq!(
        error(world.client.get("/v2/models/doubling/versions/2")).0,
        404
    );
    assert_eq!(error(world.client.get("/v2/models/doubling/infer")).0, 405);
    assert_eq!(error(world.client.get("/v2/nothing")).0, 404);
    let infer = "/v2/models/doubling/infer";
    let (status, message) = error(world.client.send("POST", infer, "{").finish());
    assert!(
        status == 400 && message.starts_with("the body: "),
        "{message}"
    );
    let (status, message) = error(world.client.post(infer, &json!({ "inputs": [] })));
    assert_eq!(
        (status, &*message),
        (400, "input x is missing, expected FP32 [?, 2]")
    );
    let mut wanted = rows(&json!([[1, 2]]));
    wanted["outputs"] = json!([{ "name": "z" }]);
    let (status, message) = error(world.client.post(infer, &wanted));
    assert_eq!(
        (status, &*message),
        (400, "doubling has no output z, expected one of: y")
    );
}

#[test]
fn tensors_come_and_go_as_bytes() {
    let world = tensor_world(settings());
    let port = world.client.send("GET", "/v2", "").peer();
    let half: Vec<u8> = [1.5, -2.0]
        .iter()
        .flat_map(|one| half::f16::from_f32(*one).to_le_bytes())
        .collect();
    let bytes = [&half[..], &[3, 0, 0, 0], b"ab\xff"].concat();
    let inputs = json!([
        { "name": "h", "shape": [2], "datatype": "FP16", "parameters": { "binary_data_size": 4 } },
        { "name": "s", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": 7 } },
        { "name": "b", "shape": [2], "datatype": "BOOL", "data": [true, false] },
    ]);
    let outputs = json!([{ "name": "s2" }, { "name": "b2", "parameters": { "binary_data": false } }, { "name": "h2" }]);
    let header = json!({ "inputs": inputs, "outputs": outputs, "parameters": { "binary_data_output": true } });
    let (head, body) = post_bytes(port, "/v2/models/echo/infer", &header, &bytes);
    assert!(
        head.starts_with("http/1.0 200"),
        "{head} {}",
        String::from_utf8_lossy(&body)
    );
    assert!(
        head.contains("content-type: application/octet-stream"),
        "{head}"
    );
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("inference-header-content-length: "));
    let (json, rest) = body.split_at(length.unwrap().parse().unwrap());
    let told: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(
        told["outputs"],
        json!([
            { "name": "s2", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": 7 } },
            { "name": "b2", "datatype": "BOOL", "shape": [2], "data": [true, false] },
            { "name": "h2", "datatype": "FP16", "shape": [2], "parameters": { "binary_data_size": 4 } },
        ])
    );
    assert_eq!(rest, [&[3, 0, 0, 0], &b"ab\xff"[..], &half].concat());
    let header = json!({ "inputs": inputs });
    let (head, body) = post_bytes(port, "/v2/models/echo/infer", &header, &bytes);
    assert!(head.starts_with("http/1.0 400"), "{head}");
    let error = "output h2 is FP16, which JSON has no numbers for: expected binary_data for it";
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({ "error": error })
    );
}

#[test]
fn models_are_unloaded_and_come_back() {
    let world = tensor_world(settings());
    let control = |what: &str, name: &str| {
        let path = format!("/v2/repository/models/{name}/{what}");
        world.client.post(&path, &json!({}))
    };
    let states = || {
        let index = world.client.post("/v2/repository/index", &json!({})).json();
        let rows = index.as_array().unwrap().iter();
        rows.map(|row| row["state"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), ["READY", "READY"]);
    assert_eq!(control("unload", "doubling").status, 200);
    assert_eq!(states(), ["UNAVAILABLE", "READY"]);
    let ready = world
        .client
        .post("/v2/repository/index", &json!({ "ready": true }))
        .json();
    assert_eq!(ready.as_array().unwrap().len(), 1);
    let refused = world
        .client
        .post("/v2/models/doubling/infer", &rows(&json!([[1, 2]])));
    assert_eq!(
        (refused.status, refused.json()["error"].as_str().unwrap()),
        (404, "doubling is unloaded")
    );
    assert_eq!(control("load", "doubling").status, 200);
    let answer = world
        .client
        .post("/v2/models/doubling/infer", &rows(&json!([[1, 2]])));
    assert_eq!(answer.status, 200);
    let failed = control("load", "doubling");
    assert_eq!(
        (failed.status, failed.json()["error"].as_str().unwrap()),
        (500, "doubling: the file is gone")
    );
    let answer = world
        .client
        .post("/v2/models/doubling/infer", &rows(&json!([[1, 2]])));
    assert_eq!(answer.status, 200, "the old one serves on");
    assert_eq!(
        control("unload", "echo").status,
        403,
        "it could not come back"
    );
    assert_eq!(control("unload", "nobody").status, 404);
}

#[test]
fn many_at_once_get_their_own_rows() {
    let world = tensor_world(settings());
    let asking = (0..8_u32).map(|client| {
        let client_of = world.client.clone();
        thread::spawn(move || {
            for turn in 0..20 {
                let (one, two) = (f64::from(100 * client + turn), f64::from(turn));
                let answer =
                    client_of.post("/v2/models/doubling/infer", &rows(&json!([[one, two]])));
                assert_eq!(
                    answer.json()["outputs"][0]["data"],
                    json!([2.0 * one, 2.0 * two])
                );
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    asking.into_iter().for_each(|one| one.join().unwrap());
    let model = world.client.get("/stats").json()["tensor_models"][0].take();
    assert_eq!(
        (&model["accepted"], &model["in_flight"], &model["rows"]),
        (&json!(160), &json!(0), &json!(160))
    );
    assert_eq!(world.client.get("/health").json()["lost_requests"], 0);
    let metrics = world.client.get("/metrics").body;
    for line in [
        r#"carnot_tensor_rows_total{model="doubling"} 160"#,
        r#"carnot_tensor_requests_total{model="doubling",finished="ok"} 160"#,
        r#"carnot_tensor_queue_seconds_count{model="doubling"} 160"#,
        r#"carnot_tensor_requests_waiting{model="doubling"} 0"#,
    ] {
        assert!(
            metrics.lines().any(|has| has == line),
            "{line} in {metrics}"
        );
    }
}

#[test]
fn the_same_inputs_are_computed_once_for_each_tenant() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let cache = runtime
        .block_on(Cache::open(carnot_cache::Settings::default()))
        .unwrap();
    let mut world = world_with(with_keys(&[("one", "a"), ("two", "b")]), 1, |server| {
        let server = server.tensors([model(doubling())], false).unwrap();
        server.results(cache)
    });
    let ask = |world: &World, data: Value| {
        let answer = world
            .client
            .post("/v2/models/doubling/infer", &rows(&data))
            .json();
        assert_eq!(
            answer["outputs"][0]["data"][0],
            json!(2.0 * data[0][0].as_f64().unwrap())
        );
        answer["parameters"]["cache"].clone()
    };
    world.client.key = Some("one".to_owned());
    assert_eq!(ask(&world, json!([[1, 2]])), Value::Null);
    assert_eq!(ask(&world, json!([[1, 2]])), "memory");
    assert_eq!(ask(&world, json!([[3, 2]])), Value::Null);
    world.client.key = Some("two".to_owned());
    assert_eq!(
        ask(&world, json!([[1, 2]])),
        Value::Null,
        "another tenant's is not seen"
    );
    let stats = world.client.get("/v2/models/doubling/stats").json();
    let stats = &stats["model_stats"][0]["inference_stats"];
    assert_eq!(
        (&stats["cache_hit"]["count"], &stats["cache_miss"]["count"]),
        (&json!(1), &json!(3))
    );
    let metrics = world.client.get("/metrics").body;
    let line = r#"carnot_tensor_result_lookups_total{model="doubling",origin="memory"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn only_the_protocols_health_is_open() {
    let open = ROUTES
        .iter()
        .filter(|(_, path, is_open)| path.starts_with("/v2") && *is_open);
    let open: Vec<&str> = open.map(|(_, path, _)| *path).collect();
    assert_eq!(open, ["/v2/health/live", "/v2/health/ready"]);
}
