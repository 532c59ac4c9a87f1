//! What the documents say is what the server does.

use std::fmt::Write as _;
use std::fs;

use carnot_server::{CODES, ROUTES};
use serde_json::json;

use crate::{open_world, settings};

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
    let world = open_world(settings());
    for _ in 0..3 {
        world.client.post(
            "/v1/completions",
            &json!({ "prompt": "xyz", "max_tokens": 5 }),
        );
    }
    world.wait_for_rest();
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
    has("# EOF");
}
