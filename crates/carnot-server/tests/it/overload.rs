//! More than the server takes, and its end.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::{Limits, World, limited, settings, world};

fn fill(world: &World, requests: usize) -> Vec<crate::client::Reading> {
    let request = json!({ "prompt": "xxxx", "max_tokens": 2 }).to_string();
    let reading = |_| world.client.send("POST", "/v1/completions", &request);
    let readings = (0..requests).map(reading).collect();
    world.wait_until(|stats| stats["in_flight"] == requests);
    readings
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_back() {
    for (limits, status, code) in [
        (
            Limits {
                queued_requests: 3,
                ..Limits::default()
            },
            503,
            "queue_full",
        ),
        (
            Limits {
                queued_tokens: 15,
                ..Limits::default()
            },
            503,
            "queue_tokens_full",
        ),
        (
            Limits {
                tenant_requests: 3,
                ..Limits::default()
            },
            429,
            "tenant_limit",
        ),
    ] {
        let world = world(limited(limits), 1);
        let waiting = fill(&world, 3);
        let refused = world
            .client
            .post("/v1/completions", &json!({ "prompt": "xxxx" }));
        assert_eq!((refused.status, refused.code().as_str()), (status, code));
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
        world.gate.open();
        for reading in waiting {
            assert_eq!(reading.finish().status, 200, "what was let in is answered");
        }
        world.wait_for_rest();
        let metrics = world.client.get("/metrics").body;
        assert!(
            metrics.contains(&format!(
                "carnot_admission_rejections_total{{reason=\"{code}\"}} 1"
            )),
            "{metrics}"
        );
    }
}

#[test]
fn who_waits_for_too_long_is_told() {
    let limits = Limits {
        queue_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = world(limited(limits), 1);
    let refused = world
        .client
        .post("/v1/completions", &json!({ "prompt": "x" }));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "queue_timeout")
    );
    world.wait_for_rest();
}

#[test]
fn what_takes_too_long_is_ended() {
    let limits = Limits {
        request_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let world = world(limited(limits), 1);
    world.gate.allow(5);
    let ended = world.client.post(
        "/v1/completions",
        &json!({ "prompt": "x", "max_tokens": 50 }),
    );
    assert_eq!((ended.status, ended.code().as_str()), (504, "deadline"));
    world.wait_for_rest();
}

#[test]
fn a_server_that_ends_finishes_what_it_began_and_takes_no_more() {
    let mut world = world(settings(), 4);
    let request = json!({ "prompt": "x", "max_tokens": 5, "stream": true });
    let mut running = world
        .client
        .send("POST", "/v1/completions", &request.to_string());
    world.wait_until(|stats| stats["in_flight"] == 1);
    world.gate.allow(2);
    running.head();
    running.event().unwrap();
    world.stop();
    assert!(
        world
            .ended
            .recv_timeout(Duration::from_millis(300))
            .is_err(),
        "it waits"
    );
    world.gate.open();
    assert_eq!(running.events().last().map(String::as_str), Some("[DONE]"));
    world.ended.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_server_that_ends_does_not_wait_for_ever() {
    let mut world = world(
        crate::Settings {
            drain: Duration::from_millis(300),
            ..settings()
        },
        4,
    );
    let request = json!({ "prompt": "x", "stream": true }).to_string();
    let _stuck = world.client.send("POST", "/v1/completions", &request);
    world.wait_until(|stats| stats["in_flight"] == 1);
    world.stop();
    world.ended.recv_timeout(Duration::from_secs(10)).unwrap();
}

/// Clients come, read a part or all, and leave; nothing is left of them.
#[test]
fn a_thousand_clients_of_every_kind_leave_nothing_behind() {
    let world = world(settings(), 8);
    world.gate.open();
    thread::scope(|scope| {
        for worker in 0..8 {
            let client = world.client.clone();
            scope.spawn(move || {
                for round in 0..125 {
                    let streams = (worker + round) % 2 == 0;
                    let request = json!({ "prompt": "x", "max_tokens": 1 + 37 * (round % 9), "n": 1 + round % 3, "stream": streams });
                    let mut reading = client.send("POST", "/v1/completions", &request.to_string());
                    match round % 4 {
                        0 => drop(reading),
                        1 if streams => {
                            reading.head();
                            reading.event();
                        }
                        _ => assert_eq!(reading.finish().status, 200),
                    }
                }
            });
        }
    });
    world.wait_for_rest();
    let stats = world.client.get("/stats").json();
    assert_eq!(
        stats["engines"][0]["accepted"], stats["engines"][0]["answered"],
        "{stats}"
    );
}
