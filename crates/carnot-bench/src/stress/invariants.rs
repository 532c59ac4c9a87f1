//! What must hold of a server when all its clients have gone: that it answers, that nobody waits or runs, that nothing is lost or held.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fetch::Fetcher;

/// How long a server has to come to rest.
const REST: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// What.
    pub name: &'static str,
    /// What was found: as it must be, or not. `None` where the server does not tell.
    pub holds: Option<bool>,
    /// What was found, in words.
    pub found: String,
}

/// Checks a server, once it has come to rest; one that does not within a minute is told as it is then.
pub fn invariants(fetcher: &Fetcher) -> Vec<Invariant> {
    let begin = Instant::now();
    loop {
        let stats = json(fetcher, "/stats");
        let told = of_stats(stats.as_ref());
        let is_at_rest = told.iter().all(|of| of.holds != Some(false));
        if is_at_rest || begin.elapsed() > REST {
            let mut all = of_health(fetcher);
            all.extend(told);
            return all;
        }
        thread::sleep(PAUSE);
    }
}

fn json(fetcher: &Fetcher, path: &str) -> Option<Value> {
    serde_json::from_str(&fetcher.text(path).ok()?).ok()
}

fn of_health(fetcher: &Fetcher) -> Vec<Invariant> {
    let told = |name, path| match fetcher.page(path) {
        Ok(page) => {
            let (holds, found) = (page.status == 200, format!("status {}", page.status));
            (
                Invariant {
                    name,
                    holds: Some(holds),
                    found,
                },
                page.text,
            )
        }
        Err(error) => {
            let (holds, found) = (Some(false), error.to_string());
            (Invariant { name, holds, found }, String::new())
        }
    };
    let (health, text) = told("health answers", "/health");
    let (token, _) = told("a token is generated", "/health/generate");
    let token = match token.found.as_str() {
        // Another server has no such page.
        "status 404" => Invariant {
            holds: None,
            ..token
        },
        _ => token,
    };
    let health_told: Option<Value> = serde_json::from_str(&text).ok();
    let lost = health_told.and_then(|told| told["lost_requests"].as_i64());
    vec![
        health,
        token,
        is_zero("requests lost", lost.map(|lost| lost as f64)),
    ]
}

/// Of what `/stats` says, summed over the models.
fn of_stats(stats: Option<&Value>) -> Vec<Invariant> {
    let engines = stats.and_then(|stats| stats["engines"].as_array());
    let sum = |field: &str| -> Option<f64> {
        let values = engines?.iter().map(|engine| engine[field].as_f64());
        values.sum()
    };
    let used = || Some(sum("kv_blocks")? - sum("kv_blocks_free")? - sum("kv_blocks_cached")?);
    vec![
        is_zero("requests running", sum("running")),
        is_zero("requests waiting", sum("waiting")),
        is_zero("requests under way", sum("in_flight")),
        is_zero("KV blocks in use", used()),
    ]
}

fn is_zero(name: &'static str, value: Option<f64>) -> Invariant {
    Invariant {
        name,
        holds: value.map(|value| value == 0.0),
        found: value.map_or_else(|| "not told".to_owned(), |value| value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn engine(running: u64, free: u64) -> Value {
        json!({ "running": running, "waiting": 0, "in_flight": running, "kv_blocks": 10, "kv_blocks_free": free, "kv_blocks_cached": 4 })
    }

    #[track_caller]
    fn check(stats: Option<&Value>, expected: [Option<bool>; 4]) {
        let told = of_stats(stats);
        let holds: Vec<Option<bool>> = told.iter().map(|of| of.holds).collect();
        assert_eq!(holds, expected, "{told:?}");
    }

    #[test]
    fn a_server_at_rest_holds_nothing_but_what_is_kept() {
        check(
            Some(&json!({ "engines": [engine(0, 6), engine(0, 6)] })),
            [Some(true); 4],
        );
        let no = Some(false);
        let yes = Some(true);
        check(
            Some(&json!({ "engines": [engine(0, 6), engine(1, 6)] })),
            [no, yes, no, yes],
        );
        check(
            Some(&json!({ "engines": [engine(0, 5)] })),
            [yes, yes, yes, no],
        );
    }

    #[test]
    fn what_is_not_told_neither_holds_nor_fails() {
        check(None, [None; 4]);
        check(Some(&json!({ "engines": [{}] })), [None; 4]);
    }
}
