//! What is there beside chats and completions, and what makes a server pleasant to run.

use std::time::{Duration, Instant};

use carnot_server::{Keys, Settings};
use serde_json::{Value, json};

use crate::{Limits, limited, open_world, settings, with_keys, world};

#[test]
fn a_question_is_answered_with_all_that_is_known_of_it() {
    let world = open_world(settings());
    let question =
        json!({ "request_id": "q1", "question": "hello", "max_tokens": 3, "user_tier": "premium" });
    let answer = world.client.post("/infer", &question).json();
    assert_eq!(answer["request_id"], "q1");
    assert_eq!(answer["final_answer"], "abc");
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["prompt_tokens"], "<user>hello".len());
    assert_eq!(answer["response_tokens"], 3);
    assert_eq!(
        (&answer["cache_hit"], &answer["prefix_length"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(answer["batch_size"], 1.0);
    let confidence = answer["confidence"].as_f64().unwrap();
    assert!(
        (confidence - (-0.5_f64).exp()).abs() < 1e-6,
        "each token has a logprob of -0.5: {confidence}"
    );
    let total = answer["total_time_ms"].as_f64().unwrap();
    assert!(
        total >= answer["processing_time_ms"].as_f64().unwrap(),
        "{answer}"
    );
    let wrong = world
        .client
        .post("/infer", &json!({ "prompt": "x", "timeout_s": 1000 }));
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (400, "invalid_value")
    );
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let world = world(settings(), 1);
    world.gate.allow(1);
    let late = world
        .client
        .post("/infer", &json!({ "prompt": "x", "timeout_s": 0.2 }));
    assert_eq!(
        (late.status, late.code().as_str()),
        (408, "request_timeout")
    );
    world.wait_for_rest();
}

#[test]
fn a_batch_keeps_its_order_and_failures_stay_in_their_place() {
    let world = open_world(settings());
    let batch = json!([
        { "request_id": "a", "prompt": "one", "max_tokens": 5 },
        { "prompt": 7 },
        { "request_id": "c", "prompt": "three", "max_tokens": 1 },
        { "request_id": "d", "model": "unknown", "prompt": "four" },
    ]);
    let response = world.client.post("/batch_infer", &batch);
    assert_eq!(response.status, 200);
    let answers = response.json();
    assert_eq!(
        (&answers[0]["request_id"], &answers[0]["final_answer"]),
        (&json!("a"), &json!("abcde"))
    );
    assert_eq!(answers[1]["error"]["code"], "invalid_json");
    assert_eq!(
        (&answers[2]["request_id"], &answers[2]["final_answer"]),
        (&json!("c"), &json!("a"))
    );
    assert_eq!(answers[3]["error"]["code"], "model_not_found");
    let many = vec![json!({ "prompt": "x" }); 65];
    assert_eq!(
        world.client.post("/batch_infer", &json!(many)).code(),
        "invalid_value"
    );
    assert_eq!(
        world.client.post("/batch_infer", &json!([])).json(),
        json!([])
    );
    world.wait_for_rest();
}

#[test]
fn texts_become_vectors_of_length_one() {
    let world = open_world(settings());
    // The engine's vectors are the prompt's length and its first letter.
    let request = json!({ "input": [[97, 98, 99, 100], [3, 3, 3, 3]] });
    let answer = world.client.post("/v1/embeddings", &request).json();
    assert_eq!(
        answer["usage"],
        json!({ "prompt_tokens": 8, "total_tokens": 8 })
    );
    let vector = |at: usize| -> Vec<f64> {
        let values = answer["data"][at]["embedding"].as_array().unwrap();
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    assert!(
        (vector(1)[0] - 0.8).abs() < 1e-6 && (vector(1)[1] - 0.6).abs() < 1e-6,
        "{answer}"
    );
    assert_eq!(answer["data"][1]["index"], 1);
    let request = json!({ "input": [[3, 3, 3, 3]], "encoding_format": "base64", "dimensions": 1 });
    let answer = world.client.post("/v1/embeddings", &request).json();
    assert_eq!(answer["data"][0]["embedding"], "AACAPw==", "one number, 1");
    let wrong = world
        .client
        .post("/v1/embeddings", &json!({ "input": "x", "dimensions": 3 }));
    assert_eq!(wrong.json()["error"]["param"], "dimensions");
    world.wait_for_rest();
}

#[test]
fn tools_and_calls_reach_the_template() {
    let world = open_world(settings());
    let tool = json!({ "type": "function", "function": { "name": "now" } });
    let call = json!({ "id": "1", "type": "function", "function": { "name": "now", "arguments": "{\"zone\":\"UTC\"}" } });
    let parsed = json!({ "id": "1", "type": "function", "function": { "name": "now", "arguments": { "zone": "UTC" } } });
    let request = json!({
        "messages": [
            { "role": "user", "content": "when?" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "content": "12:00", "tool_call_id": "1" },
        ],
        "tools": [tool],
        "max_tokens": 1,
    });
    let answer = world.client.post("/v1/chat/completions", &request).json();
    let calls = json!({ "tool_calls": [parsed] });
    let id = json!({ "tool_call_id": "1" });
    let prompt = format!("[{tool}]<user>when?<assistant>{calls}<tool>12:00{id}");
    assert_eq!(answer["usage"]["prompt_tokens"], prompt.len(), "{answer}");
}

#[test]
fn calls_of_tools_are_told_as_calls() {
    let world = open_world(settings());
    let call = r#"<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>"#;
    let mut request = json!({
        "messages": [{ "role": "user", "content": format!("says:I look. {call}") }],
        "tools": [{ "type": "function", "function": { "name": "now" } }],
    });
    let function = json!({ "name": "now", "arguments": "{\"zone\":\"UTC\"}" });
    let answer = world.client.post("/v1/chat/completions", &request).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    assert_eq!(choice["message"]["content"], "I look.");
    assert_eq!(choice["message"]["tool_calls"][0]["function"], function);
    request["stream"] = true.into();
    // Likelihoods are told token by token, which must not hide a call.
    for logprobs in [false, true] {
        request["logprobs"] = logprobs.into();
        let mut reading = world
            .client
            .send("POST", "/v1/chat/completions", &request.to_string());
        assert_eq!(reading.head().0, 200);
        let events = reading.events();
        let events: Vec<Value> = events
            .iter()
            .filter_map(|event| serde_json::from_str(event).ok())
            .collect();
        let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]);
        let text: String = deltas()
            .filter_map(|delta| delta["content"].as_str())
            .collect();
        assert_eq!(text, "I look.");
        let calls: Vec<&Value> = deltas()
            .filter_map(|delta| delta["tool_calls"].get(0))
            .collect();
        assert_eq!(
            (calls.len(), &calls[0]["function"], &calls[0]["index"]),
            (1, &function, &json!(0))
        );
        assert_eq!(
            events.last().unwrap()["choices"][0]["finish_reason"],
            "tool_calls"
        );
    }
    request["tool_choice"] = "none".into();
    request["stream"] = false.into();
    let answer = world.client.post("/v1/chat/completions", &request).json();
    assert_eq!(
        answer["choices"][0]["finish_reason"], "stop",
        "no tools, no calls"
    );
}

/// The texts of a stream's events.
fn texts(events: &[String]) -> Vec<String> {
    let data = events.iter().filter(|event| *event != "[DONE]");
    let data = data.map(|event| serde_json::from_str::<Value>(event).unwrap());
    data.filter_map(|event| Some(event["choices"][0]["text"].as_str()?.to_owned()))
        .filter(|text| !text.is_empty())
        .collect()
}

fn streamed(world: &crate::World, request: &Value) -> Vec<String> {
    let mut reading = world
        .client
        .send("POST", "/v1/completions", &request.to_string());
    assert_eq!(reading.head().0, 200);
    reading.events()
}

#[test]
fn tokens_are_sent_together_where_that_is_asked_for() {
    let world = open_world(settings());
    let request = json!({ "prompt": "x", "max_tokens": 7, "stream": true, "stream_interval": 3 });
    assert_eq!(texts(&streamed(&world, &request)), ["abc", "def", "g"]);
}

#[test]
fn a_stream_for_a_reader_is_paced_and_holds_nothing_meanwhile() {
    let world = open_world(settings());
    let request =
        json!({ "prompt": "x", "max_tokens": 6, "stream": true, "tokens_per_second": 20 });
    let begin = Instant::now();
    let mut reading = world
        .client
        .send("POST", "/v1/completions", &request.to_string());
    assert_eq!(reading.head().0, 200);
    // The engine is done long before the reader is.
    world.wait_for_rest();
    assert_eq!(texts(&reading.events()).concat(), "abcdef");
    assert!(
        begin.elapsed() >= Duration::from_millis(5 * 50),
        "{:?}",
        begin.elapsed()
    );
    let wrong = json!({ "prompt": "x", "stream": true, "tokens_per_second": 0 });
    assert_eq!(
        world.client.post("/v1/completions", &wrong).json()["error"]["param"],
        "tokens_per_second"
    );
}

#[test]
fn a_stream_tells_how_far_the_prompt_is() {
    let world = open_world(settings());
    let request =
        json!({ "prompt": "xyz", "max_tokens": 1, "stream": true, "return_progress": true });
    let events = streamed(&world, &request);
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    let progress = &first["prompt_progress"];
    assert_eq!(
        (&progress["total"], &progress["processed"]),
        (&json!(3), &json!(0)),
        "{events:?}"
    );
    let silent = json!({ "prompt": "xyz", "max_tokens": 1, "stream": true });
    assert!(
        !streamed(&world, &silent)
            .concat()
            .contains("prompt_progress")
    );
}

#[test]
fn a_client_can_ask_for_the_limits() {
    let world = open_world(limited(Limits {
        body_bytes: 1234,
        ..Limits::default()
    }));
    let props = world.client.get("/props").json();
    assert_eq!(props["limits"]["body_bytes"], 1234);
    assert_eq!(props["limits"]["tokens_per_minute_of_a_key"], Value::Null);
    assert_eq!(props["models"][0]["model_alias"], "scripted");
}

#[test]
fn limits_and_keys_change_while_the_server_runs() {
    let mut world = open_world(with_keys(&[("old", "a")]));
    world.client.key = Some("old".to_owned());
    assert_eq!(world.client.get("/v1/models").status, 200);
    world.settings.replace(Settings {
        keys: Keys::new([("new".to_owned(), "a".to_owned())]),
        ..limited(Limits {
            body_bytes: 10,
            ..Limits::default()
        })
    });
    assert_eq!(world.client.get("/v1/models").code(), "invalid_api_key");
    world.client.key = Some("new".to_owned());
    assert_eq!(world.client.get("/v1/models").status, 200);
    let large = world
        .client
        .post("/v1/completions", &json!({ "prompt": "too long" }));
    assert_eq!(
        (large.status, large.code().as_str()),
        (413, "body_too_large")
    );
}

#[test]
fn a_response_has_the_id_of_its_request() {
    let mut world = open_world(settings());
    let made_up = world.client.get("/health");
    assert_eq!(made_up.header("x-request-id").unwrap().len(), 16);
    world.client.headers = "x-request-id: from-the-proxy-7\r\n".to_owned();
    assert_eq!(
        world.client.get("/health").header("x-request-id"),
        Some("from-the-proxy-7")
    );
    world.client.headers = "x-request-id: not fit\r\n".to_owned();
    assert_eq!(
        world
            .client
            .get("/nowhere")
            .header("x-request-id")
            .unwrap()
            .len(),
        16
    );
}
