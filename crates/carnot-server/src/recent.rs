//! Quantiles of what happened lately, for people: exact over the last thousand values. What is kept for ever is in the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// Values of each kind that are kept.
const KEPT: usize = 1024;

/// The last durations of one kind.
#[derive(Debug, Default)]
struct Ring {
    seconds: Vec<f32>,
    next: usize,
    count: u64,
}

impl Ring {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f32();
        if self.seconds.len() < KEPT {
            self.seconds.push(seconds);
        } else {
            self.seconds[self.next] = seconds;
            self.next = (self.next + 1) % KEPT;
        }
        self.count += 1;
    }

    /// In milliseconds; null where nothing happened.
    fn quantiles(&self) -> Value {
        let mut sorted = self.seconds.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| {
            let last = sorted.len().checked_sub(1)?;
            Some(1e3 * f64::from(sorted[(last as f64 * share).round() as usize]))
        };
        json!({ "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "count": self.count })
    }
}

/// What is kept of an engine's requests.
#[derive(Debug, Default)]
struct Rings {
    first_token: Ring,
    inter_token: Ring,
    queue: Ring,
    request: Ring,
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
}

/// Shared between the engine's thread, which writes, and whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Arc<Mutex<Rings>>);

impl Recent {
    fn with(&self, change: impl FnOnce(&mut Rings)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn first_token(&self, after: Duration) {
        self.with(|rings| {
            rings.first_token.add(after);
            rings.generated_tokens += 1;
        });
    }

    pub fn token(&self, after: Duration) {
        self.with(|rings| {
            rings.inter_token.add(after);
            rings.generated_tokens += 1;
        });
    }

    pub fn finished(&self, queue: Duration, request: Duration, (prompt, cached): (usize, usize)) {
        self.with(|rings| {
            rings.queue.add(queue);
            rings.request.add(request);
            rings.prompt_tokens += prompt as u64;
            rings.cached_tokens += cached as u64;
        });
    }

    /// As `/stats` has it.
    pub fn told(&self) -> Value {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hit_rate = (rings.prompt_tokens > 0)
            .then(|| rings.cached_tokens as f64 / rings.prompt_tokens as f64);
        json!({
            "time_to_first_token_ms": rings.first_token.quantiles(),
            "inter_token_ms": rings.inter_token.quantiles(),
            "queue_ms": rings.queue.quantiles(),
            "request_ms": rings.request.quantiles(),
            "prompt_tokens": rings.prompt_tokens,
            "cached_tokens": rings.cached_tokens,
            "generated_tokens": rings.generated_tokens,
            "prefix_hit_rate": hit_rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_values() {
        let recent = Recent::default();
        assert_eq!(recent.told()["inter_token_ms"]["p50"], Value::Null);
        for millisecond in 0..5000 {
            recent.token(Duration::from_millis(millisecond));
        }
        let told = recent.told();
        let p50 = told["inter_token_ms"]["p50"].as_f64().unwrap();
        assert!((p50 - (5000.0 - 512.5)).abs() < 2.0, "{told}");
        assert_eq!(told["inter_token_ms"]["count"], 5000);
        assert_eq!(told["generated_tokens"], 5000);
    }
}
