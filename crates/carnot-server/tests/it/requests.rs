//! Requests good and bad, answered in one piece.

use serde_json::{Value, json};

use crate::scripted::{CONTEXT, FAILS, PANICS};
use crate::{Limits, limited, open_world, settings, with_keys, world};

fn completion(prompt: &Value) -> Value {
    json!({ "prompt": prompt, "max_tokens": 3 })
}

#[test]
fn a_chat_is_answered_in_openais_shape() {
    let world = open_world(settings());
    let request = json!({
        "model": "scripted",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "hel" }, { "type": "text", "text": "lo" }] },
        ],
        "max_completion_tokens": 4,
        "metadata": { "unknown": "fields are ignored" },
    });
    let response = world.client.post("/v1/chat/completions", &request);
    let answer = response.json();
    assert_eq!(response.status, 200, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        answer["choices"],
        json!([{
            "index": 0,
            "message": { "role": "assistant", "content": "abcd" },
            "logprobs": null,
            "finish_reason": "length",
        }])
    );
    let prompt = "<system>be brief<user>hello".len();
    assert_eq!(answer["usage"]["prompt_tokens"], prompt);
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(answer["timings"]["predicted_n"], 4);
    world.wait_for_rest();
}

#[test]
fn a_completion_takes_every_form_of_prompt() {
    let world = open_world(settings());
    let ask = |prompt: Value| {
        world
            .client
            .post("/v1/completions", &completion(&prompt))
            .json()
    };
    for one in [
        json!("xy"),
        json!([120, 121]),
        json!([[120, 121]]),
        json!(["xy"]),
    ] {
        let answer = ask(one);
        assert_eq!(answer["choices"][0]["text"], "abc", "{answer}");
        assert_eq!(answer["usage"]["prompt_tokens"], 2);
    }
    for two in [json!(["xy", "z"]), json!([[1, 2], [3]])] {
        let answer = ask(two);
        assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
        assert_eq!(answer["usage"]["prompt_tokens"], 3);
        assert_eq!(answer["usage"]["completion_tokens"], 6);
    }
    let several = json!({ "prompt": "xyz", "n": 3, "max_tokens": 2, "echo": true });
    let answer = world.client.post("/v1/completions", &several).json();
    let texts: Vec<&str> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["xyzab"; 3]);
    assert_eq!(answer["usage"]["prompt_tokens"], 3, "a prompt counts once");
    world.wait_for_rest();
}

#[test]
fn likelihoods_come_as_each_interface_has_them() {
    let world = open_world(settings());
    let chat = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1, "logprobs": true, "top_logprobs": 2 });
    let answer = world.client.post("/v1/chat/completions", &chat).json();
    let expected = json!({ "content": [{
        "token": "a", "logprob": -0.5, "bytes": [97],
        "top_logprobs": [{ "token": "a", "logprob": -0.0, "bytes": [97] }, { "token": "b", "logprob": -1.0, "bytes": [98] }],
    }] });
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    let completion = json!({ "prompt": "x", "max_tokens": 2, "logprobs": 1 });
    let answer = world.client.post("/v1/completions", &completion).json();
    let expected = json!({ "tokens": ["a", "b"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [{ "a": -0.0 }, { "a": -0.0 }] });
    assert_eq!(answer["choices"][0]["logprobs"], expected);
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn bad_requests_are_told_what_is_wrong() {
    let world = open_world(limited(Limits {
        body_bytes: 200_000,
        ..Limits::default()
    }));
    let chat = |body: &str| {
        world
            .client
            .send("POST", "/v1/chat/completions", body)
            .finish()
    };
    let completions = |body: &str| world.client.send("POST", "/v1/completions", body).finish();
    let user = r#""messages": [{"role": "user", "content": "x"}]"#;
    for (response, status, code, param, message) in [
        (
            chat("{"),
            400,
            "invalid_json",
            Value::Null,
            "line 1 column 1",
        ),
        (chat(""), 400, "invalid_json", Value::Null, "the body"),
        (chat("[]"), 400, "invalid_json", Value::Null, "the body"),
        (
            chat(r#"{"model": "scripted"}"#),
            400,
            "invalid_json",
            Value::Null,
            "messages",
        ),
        (
            chat(r#"{"messages": []}"#),
            400,
            "invalid_value",
            json!("messages"),
            "at least one",
        ),
        (
            chat(r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#),
            400,
            "invalid_value",
            json!("messages[0].content"),
            "image_url",
        ),
        (
            chat(&format!(r#"{{{user}, "model": "gpt"}}"#)),
            404,
            "model_not_found",
            json!("model"),
            "expected one of scripted, got gpt",
        ),
        (
            chat(&format!(r#"{{{user}, "temperature": -1}}"#)),
            400,
            "invalid_value",
            json!("temperature"),
            "got -1",
        ),
        (
            chat(&format!(r#"{{{user}, "temperature": "hot"}}"#)),
            400,
            "invalid_json",
            Value::Null,
            "f32",
        ),
        (
            chat(&format!(r#"{{{user}, "n": 0}}"#)),
            400,
            "invalid_value",
            json!("n"),
            "1 to 16, got 0",
        ),
        (
            chat(&format!(r#"{{{user}, "priority": 11}}"#)),
            400,
            "invalid_value",
            json!("priority"),
            "0 to 10",
        ),
        (
            chat(&format!(r#"{{{user}, "logit_bias": {{"x": 1}}}}"#)),
            400,
            "invalid_value",
            json!("logit_bias"),
            "got x",
        ),
        (
            chat(&format!(
                r#"{{{user}, "logprobs": true, "top_logprobs": 99}}"#
            )),
            400,
            "invalid_value",
            json!("logprobs"),
            "0 to 20",
        ),
        (
            completions(r#"{"prompt": "x", "structured_outputs": {"regex": "("}}"#),
            400,
            "invalid_grammar",
            Value::Null,
            "unclosed",
        ),
        (
            completions(r#"{"prompt": "x", "structured_outputs": {"regex": "a", "json": {}}}"#),
            400,
            "invalid_value",
            json!("structured_outputs"),
            "several",
        ),
        (
            completions(r#"{"prompt": "x", "response_format": {"type": "xml"}}"#),
            400,
            "invalid_json",
            Value::Null,
            "xml",
        ),
        (
            completions(r#"{"max_tokens": 2}"#),
            400,
            "invalid_value",
            json!("prompt"),
            "got none",
        ),
        (
            completions(r#"{"prompt": ""}"#),
            400,
            "invalid_value",
            json!("prompt"),
            "empty",
        ),
        (
            completions(r#"{"prompt": []}"#),
            400,
            "invalid_value",
            json!("prompt"),
            "empty",
        ),
        (
            completions(r#"{"prompt": [7, 256]}"#),
            400,
            "invalid_value",
            json!("prompt"),
            "token 256 at position 1",
        ),
        (
            completions(r#"{"prompt": {"a": 1}}"#),
            400,
            "invalid_json",
            Value::Null,
            "Prompt",
        ),
        (
            completions(&format!(r#"{{"prompt": "{}"}}"#, "x".repeat(300_000))),
            413,
            "body_too_large",
            Value::Null,
            "at most 200000 bytes",
        ),
        (
            world.client.get("/v1/nothing"),
            404,
            "not_found",
            Value::Null,
            "/v1/nothing",
        ),
        (
            world.client.get("/v1/completions"),
            405,
            "method_not_allowed",
            Value::Null,
            "GET",
        ),
    ] {
        let error = response.json()["error"].clone();
        assert_eq!(
            (response.status, &error["code"], &error["param"]),
            (status, &json!(code), &param),
            "{error}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{error}"
        );
    }
    let long = json!({ "prompt": vec![5; CONTEXT] });
    let world = open_world(settings());
    let error = world.client.post("/v1/completions", &long).json()["error"].clone();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(
        (&error["n_prompt_tokens"], &error["n_ctx"]),
        (&json!(CONTEXT), &json!(CONTEXT))
    );
    world.wait_for_rest();
    assert_eq!(
        world
            .client
            .post("/v1/completions", &completion(&json!("x")))
            .status,
        200
    );
}

#[test]
fn an_engine_that_fails_or_panics_fails_the_request_and_lives() {
    let world = open_world(settings());
    for (prompt, why) in [(FAILS, "it was asked to"), (PANICS, "panicked")] {
        let response = world
            .client
            .post("/v1/completions", &completion(&json!(prompt)));
        assert_eq!(
            (response.status, response.code().as_str()),
            (500, "engine_failed")
        );
        assert!(response.body.contains(why), "{}", response.body);
        let after = world
            .client
            .post("/v1/completions", &completion(&json!("x")));
        assert_eq!(after.status, 200, "{}", after.body);
    }
    world.wait_for_rest();
}

#[test]
fn keys_open_what_is_not_open_to_everybody() {
    let mut world = open_world(with_keys(&[("sk-1", "alice"), ("sk-2", "bob")]));
    for &(method, path, is_open) in carnot_server::ROUTES {
        let status = |key: Option<&str>| {
            let mut client = world.client.clone();
            client.key = key.map(str::to_owned);
            client.send(method, path, "{}").finish().status
        };
        for wrong in [None, Some("sk-"), Some("sk-11"), Some("")] {
            assert_eq!(
                status(wrong) == 401,
                !is_open,
                "{method} {path} with {wrong:?}"
            );
        }
        // There is no request and no model of that name.
        let is_of_one = method == "DELETE" || path.contains("{model}");
        let expected = if is_of_one { 404 } else { 200 };
        let got = status(Some("sk-2"));
        assert!(got == expected || got == 400, "{method} {path}: {got}");
    }
    world.client.key = Some("sk-1".to_owned());
    world.wait_for_rest();
}

#[test]
fn tokens_and_texts_are_turned_into_each_other() {
    let world = open_world(settings());
    let tokens = world
        .client
        .post("/tokenize", &json!({ "content": "hi" }))
        .json();
    assert_eq!(tokens, json!({ "count": 2, "tokens": [104, 105] }));
    let text = world
        .client
        .post("/detokenize", &json!({ "tokens": [104, 105] }))
        .json();
    assert_eq!(text, json!({ "content": "hi" }));
    assert_eq!(
        world.client.post("/cache/flush", &json!({})).json(),
        json!({ "freed_blocks": 7 })
    );
    assert_eq!(world.client.get("/health/generate").status, 200);
    let models = world.client.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "scripted");
}

#[test]
fn requests_are_listed_and_ended_by_their_own_tenant_only() {
    let mut world = world(with_keys(&[("sk-1", "alice"), ("sk-2", "bob")]), 4);
    world.client.key = Some("sk-1".to_owned());
    let request = json!({ "prompt": "x", "n": 2, "max_tokens": 9 });
    let reading = world
        .client
        .send("POST", "/v1/completions", &request.to_string());
    world.wait_until(|stats| stats["in_flight"] == 2);
    let listed = world.client.get("/requests").json();
    let requests = listed["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2, "{listed}");
    assert_eq!(
        (&requests[0]["state"], &requests[0]["prompt_tokens"]),
        (&json!("waiting"), &json!(1))
    );
    let path = format!("/requests/{}", requests[0]["id"].as_str().unwrap());
    let mut other = world.client.clone();
    other.key = Some("sk-2".to_owned());
    assert_eq!(other.get("/requests").json(), json!({ "requests": [] }));
    assert_eq!(other.send("DELETE", &path, "").finish().status, 404);
    let ended = world.client.send("DELETE", &path, "").finish().json();
    assert_eq!(ended["cancelled_choices"], 2);
    let answer = reading.finish();
    assert_eq!((answer.status, answer.code().as_str()), (409, "cancelled"));
    world.wait_for_rest();
}
