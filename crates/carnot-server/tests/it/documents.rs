//! What the documents say is what the server does.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use carnot_server::{CODES, ROUTES};
use serde_json::json;

use crate::{open_world, settings, with_keys};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/serving.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_codes_of_errors_are_those_of_the_page() {
    let mut table = String::from("| code | status | type | |\n|---|---|---|---|\n");
    for code in CODES {
        writeln!(
            table,
            "| `{}` | {} | `{}` | {} |",
            code.code, code.status, code.kind, code.meaning
        )
        .unwrap();
    }
    let page = page();
    let (_, rest) = page.split_once("<!-- codes -->\n").unwrap();
    let (written, _) = rest.split_once("<!-- /codes -->").unwrap();
    assert_eq!(written, table);
}

#[test]
fn every_route_is_on_the_page() {
    let page = page();
    for (_, path, _) in ROUTES {
        assert!(page.contains(&format!("`{path}`")), "{path}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let mut world = open_world(settings());
    for _ in 0..3 {
        world.client.post(
            "/v1/completions",
            &json!({ "prompt": "xyz", "max_tokens": 5 }),
        );
    }
    world.wait_for_rest();
    let plain = world.client.get("/metrics");
    assert!(
        plain
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    assert!(
        plain.body.contains("# TYPE carnot_requests_total counter"),
        "{}",
        plain.body
    );
    world.client.headers = "accept: application/openmetrics-text\r\n".to_owned();
    let response = world.client.get("/metrics");
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let has = |line: &str| {
        assert!(
            response.body.lines().any(|has| has == line),
            "{line} in {}",
            response.body
        );
    };
    has(r#"carnot_requests_total{model="scripted",finished="length"} 3"#);
    has(r#"carnot_generated_tokens_total{model="scripted"} 15"#);
    has(r#"carnot_prompt_tokens_total{model="scripted",source="computed"} 9"#);
    has(r#"carnot_time_to_first_token_seconds_count{model="scripted"} 3"#);
    has(r#"carnot_inter_token_latency_seconds_count{model="scripted"} 12"#);
    has(r#"vllm:num_requests_running{model="scripted"} 0"#);
    has(r#"vllm:generation_tokens_total{model="scripted"} 15"#);
    has("# EOF");
    let thread = |activity: &str| seconds_of(activity, &response.body);
    assert!(thread("idle") > 0.0 && thread("step") > 0.0 && thread("transport") > 0.0);
}

/// What the engine's thread says that it spent on something.
fn seconds_of(activity: &str, metrics: &str) -> f64 {
    let begin =
        format!(r#"carnot_engine_thread_seconds_total{{model="scripted",activity="{activity}"}} "#);
    let line = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    line.unwrap_or_else(|| panic!("{begin} in {metrics}"))
        .parse()
        .unwrap()
}

#[test]
fn idle_time_passes_while_nobody_asks() {
    let mut world = open_world(settings());
    world.client.headers = "accept: application/openmetrics-text\r\n".to_owned();
    let idle = || seconds_of("idle", &world.client.get("/metrics").body);
    let before = idle();
    let rises = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        idle() > before
    });
    assert!(rises, "{before} s, still");
}

#[test]
fn the_interface_is_described_by_the_server_itself() {
    let world = open_world(with_keys(&[("key", "a")]));
    let document = world.client.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    for (method, path, is_open) in ROUTES {
        let route = &document["paths"][path][method.to_lowercase()];
        assert!(route["summary"].is_string(), "{method} {path}");
        assert_eq!(route["security"].is_null(), *is_open, "{method} {path}");
    }
    let page = world.client.get("/docs");
    assert!(page.status == 200 && page.body.contains("/openapi.json"));
}
