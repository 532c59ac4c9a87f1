//! Responses piece by piece, and readers that leave or do not read.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Reading;
use crate::scripted::{FAILS, GRAMMAR_TIME, SLOW_GRAMMAR};
use crate::{Limits, limited, open_world, settings, world};

fn stream(world: &crate::World, mut request: Value) -> Reading {
    request["stream"] = true.into();
    let path = if request["messages"].is_null() {
        "/v1/completions"
    } else {
        "/v1/chat/completions"
    };
    let mut reading = world.client.send("POST", path, &request.to_string());
    let (status, headers) = reading.head();
    assert_eq!(status, 200);
    assert!(headers.contains(&("content-type".to_owned(), "text/event-stream".to_owned())));
    reading
}

fn parsed(event: &str) -> Value {
    serde_json::from_str(event).unwrap_or_else(|error| panic!("{error}: {event}"))
}

#[test]
fn a_chat_streams_in_openais_shape() {
    let world = open_world(settings());
    let request = json!({
        "messages": [{ "role": "user", "content": "x" }],
        "max_tokens": 3,
        "stream_options": { "include_usage": true },
    });
    let mut events = stream(&world, request).events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| parsed(event)).collect();
    let deltas: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"])
        .collect();
    assert_eq!(
        deltas,
        [
            &json!({ "role": "assistant", "content": "" }),
            &json!({ "content": "a" }),
            &json!({ "content": "b" }),
            &json!({ "content": "c" }),
            &json!({}),
            &Value::Null,
        ]
    );
    let reasons: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(reasons[4], "length");
    assert!(reasons[..4].iter().all(|reason| reason.is_null()));
    assert_eq!(events[5]["usage"]["completion_tokens"], 3);
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk"
                && event["id"] == events[0]["id"])
    );
}

#[test]
fn choices_of_a_stream_are_told_apart() {
    let world = open_world(settings());
    let request = json!({ "prompt": ["x", "y"], "n": 2, "max_tokens": 20 });
    let mut texts = vec![String::new(); 4];
    for event in stream(&world, request).events() {
        if event != "[DONE]" {
            let choice = &parsed(&event)["choices"][0];
            texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    assert_eq!(texts, ["abcdefghijklmnopqrst"; 4]);
    world.wait_for_rest();
}

#[test]
fn a_failure_ends_a_stream_with_an_error() {
    let world = open_world(settings());
    let events = stream(&world, json!({ "prompt": FAILS, "max_tokens": 2 })).events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(parsed(&events[0])["error"]["code"], "engine_failed");
    world.wait_for_rest();
}

/// In every state: waiting, between steps, in the middle of a stream, streamed or not, one choice or several.
#[test]
fn a_client_that_leaves_is_noticed_in_every_state() {
    for streams in [true, false] {
        for choices in [1, 3] {
            let world = world(settings(), 4);
            let request =
                json!({ "prompt": "x", "n": choices, "max_tokens": 50_000, "stream": streams });
            let send = || {
                world
                    .client
                    .send("POST", "/v1/completions", &request.to_string())
            };
            // Before anything was computed.
            let waiting = send();
            world.wait_until(|stats| stats["waiting"] == choices);
            drop(waiting);
            world.wait_for_rest();
            // Between two steps, while none comes.
            let running = send();
            world.wait_until(|stats| stats["waiting"] == choices);
            world.gate.allow(3);
            world.wait_until(|stats| stats["running"] == choices);
            drop(running);
            world.wait_for_rest();
            // While tokens flow.
            world.gate.open();
            let mut flowing = send();
            if streams {
                flowing.head();
                flowing.event().unwrap();
            } else {
                world.wait_until(|stats| stats["running"] == choices);
            }
            drop(flowing);
            world.wait_for_rest();
        }
    }
}

#[test]
fn a_reader_that_does_not_read_pauses_only_itself() {
    let world = open_world(limited(Limits {
        reader_time: Duration::from_hours(1),
        ..Limits::default()
    }));
    // More than the buffers of two sockets and a channel hold.
    let mut slow = stream(&world, json!({ "prompt": "x", "max_tokens": 99_000 }));
    let others: Vec<u16> = (0..20)
        .map(|_| {
            world
                .client
                .post(
                    "/v1/completions",
                    &json!({ "prompt": "y", "max_tokens": 100 }),
                )
                .status
        })
        .collect();
    assert_eq!(others, [200; 20]);
    // It alone keeps its place.
    world.wait_until(|stats| stats["running"] == 1 && stats["in_flight"] == 1);
    let events = slow.events();
    let text: String = events
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| {
            parsed(event)["choices"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(text.len(), 99_000, "and has everything in the end");
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    world.wait_for_rest();
}

#[test]
fn a_reader_that_never_reads_is_given_up() {
    let world = open_world(limited(Limits {
        reader_time: Duration::from_millis(100),
        ..Limits::default()
    }));
    let _slow = stream(&world, json!({ "prompt": "x", "max_tokens": 99_000 }));
    world.wait_for_rest();
    let metrics = world.client.get("/metrics").body;
    assert!(
        metrics.contains(r#"carnot_requests_total{model="scripted",finished="slow_reader"} 1"#),
        "{metrics}"
    );
}

/// Nobody waits for a grammar any more: it is compiled to its end, and then asks for nothing.
#[test]
fn a_client_that_leaves_while_its_grammar_is_compiled_asks_for_nothing() {
    for streams in [true, false] {
        for choices in [1, 3] {
            let world = open_world(settings());
            let request = json!({
                "prompt": "x", "n": choices, "max_tokens": 50_000, "stream": streams,
                "structured_outputs": { "regex": SLOW_GRAMMAR },
            });
            let leaving = world
                .client
                .send("POST", "/v1/completions", &request.to_string());
            thread::sleep(GRAMMAR_TIME / 4);
            drop(leaving);
            thread::sleep(GRAMMAR_TIME);
            let stats = world.client.get("/stats").json();
            assert_eq!(stats["engines"][0]["accepted"], 0, "{stats}");
            world.wait_for_rest();
        }
    }
}

/// A peer that vanishes without a word (a cable, a sleeping laptop) closes nothing; the kernel asks it, if it is told to.
#[test]
fn connections_are_asked_whether_their_peer_is_there() {
    let world = world(settings(), 4);
    let request = json!({ "prompt": "x", "max_tokens": 5 }).to_string();
    let waiting = world.client.send("POST", "/v1/completions", &request);
    world.wait_until(|stats| stats["waiting"] == 1);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (server, client) = (waiting.peer(), waiting.local());
    let port =
        |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let ours = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = ours.filter(|line| (port(line[1]), port(line[2])) == (server, client));
    let timers: Vec<String> = ours.map(|line| line[5][..2].to_owned()).collect();
    assert_eq!(timers, ["02"], "the timer of keepalive runs");
    drop(waiting);
    world.wait_for_rest();
}
