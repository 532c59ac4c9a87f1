//! What is counted, and its exposition in the OpenMetrics text format.
//!
//! Times are taken by the engine's thread, where they happen; what a proxy or a slow reader adds is not in them. Labels have few
//! values: the model, and where it says so a reason.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carnot_engine::{Census, StepOutcome, Usage};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::engine_thread::{Ending, Timings};
use crate::recent::Recent;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Every metric of the server.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<Labels, Counter>,
    rejections: Family<Labels, Counter>,
    prompt_tokens: Family<Labels, Counter>,
    generated_tokens: Family<Labels, Counter>,
    preemptions: Family<Labels, Gauge>,
    running: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    blocks: Family<Labels, Gauge>,
    steps: Histograms,
    step_tokens: Histograms,
    first_token: Histograms,
    inter_token: Histograms,
    queue: Histograms,
    request: Histograms,
}

/// From a tenth of a millisecond to five minutes, in steps of 1, 2.5, 5.
fn seconds() -> Histogram {
    let decades = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
    let buckets = decades
        .into_iter()
        .flat_map(|decade| [decade, 2.5 * decade, 5.0 * decade]);
    Histogram::new(buckets.take_while(|&bound| bound < 301.0))
}

fn tokens() -> Histogram {
    Histogram::new((0..12).map(|power| f64::from(1 << power)))
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            rejections: Family::default(),
            prompt_tokens: Family::default(),
            generated_tokens: Family::default(),
            preemptions: Family::default(),
            running: Family::default(),
            waiting: Family::default(),
            blocks: Family::default(),
            steps: Family::new_with_constructor(seconds),
            step_tokens: Family::new_with_constructor(tokens),
            first_token: Family::new_with_constructor(seconds),
            inter_token: Family::new_with_constructor(seconds),
            queue: Family::new_with_constructor(seconds),
            request: Family::new_with_constructor(seconds),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("carnot");
        registry.register(
            "requests",
            "Requests that have ended, by how",
            self.requests.clone(),
        );
        registry.register(
            "admission_rejections",
            "Requests that were not let in, by the code of the answer",
            self.rejections.clone(),
        );
        registry.register(
            "prompt_tokens",
            "Prompt tokens by where their keys and values came from",
            self.prompt_tokens.clone(),
        );
        registry.register(
            "generated_tokens",
            "Tokens that were generated",
            self.generated_tokens.clone(),
        );
        registry.register(
            "preemptions",
            "Sequences that had to make room for others since the start",
            self.preemptions.clone(),
        );
        registry.register(
            "requests_running",
            "Requests that have a place",
            self.running.clone(),
        );
        registry.register(
            "requests_waiting",
            "Requests that wait for a place",
            self.waiting.clone(),
        );
        registry.register(
            "kv_blocks",
            "Blocks of keys and values by who holds them",
            self.blocks.clone(),
        );
        let mut seconds = |name: &str, help: &str, histograms: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
        };
        seconds("step", "A step of the engine", &self.steps);
        seconds(
            "time_to_first_token",
            "From submission to the first token",
            &self.first_token,
        );
        seconds(
            "inter_token_latency",
            "Between two tokens of a request, in the engine",
            &self.inter_token,
        );
        seconds("queue", "From submission to a place", &self.queue);
        seconds("request", "From submission to the end", &self.request);
        registry.register(
            "step_tokens",
            "Tokens that a step computed, of all requests together",
            self.step_tokens.clone(),
        );
    }

    /// What an engine's thread counts.
    pub fn engine(&self, model: &str) -> EngineMetrics {
        EngineMetrics {
            all: self.clone(),
            recent: Recent::default(),
            model: model.to_owned(),
        }
    }

    /// A request was not let in.
    pub fn rejected(&self, code: &'static str) {
        let labels = vec![("reason", code.to_owned())];
        self.rejections.get_or_create(&labels).inc();
    }

    /// All of them, as text.
    pub fn render(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            // Writing to a string does not fail; were it to, the scrape should say so.
            let _ = write!(text, "# the metrics could not be written\n# EOF\n");
        }
        text
    }
}

/// The metrics of one engine.
pub(crate) struct EngineMetrics {
    all: Metrics,
    pub recent: Recent,
    model: String,
}

impl EngineMetrics {
    fn labels(&self) -> Labels {
        vec![("model", self.model.clone())]
    }

    fn labels_with(&self, name: &'static str, value: &str) -> Labels {
        vec![("model", self.model.clone()), (name, value.to_owned())]
    }

    fn observe(&self, histograms: &Histograms, took: Duration) {
        let histogram = histograms.get_or_create(&self.labels());
        histogram.observe(took.as_secs_f64());
    }

    pub fn step(&self, outcome: StepOutcome, took: Duration) {
        let tokens = outcome.prefill_tokens + outcome.decode_tokens;
        if tokens > 0 {
            self.observe(&self.all.steps, took);
            let histogram = self.all.step_tokens.get_or_create(&self.labels());
            histogram.observe(tokens as f64);
        }
    }

    pub fn first_token(&self, after: Duration) {
        self.recent.first_token(after);
        self.observe(&self.all.first_token, after);
        self.all
            .generated_tokens
            .get_or_create(&self.labels())
            .inc();
    }

    pub fn token(&self, after: Duration) {
        self.recent.token(after);
        self.observe(&self.all.inter_token, after);
        self.all
            .generated_tokens
            .get_or_create(&self.labels())
            .inc();
    }

    pub fn finished(&self, ending: &Ending, usage: &Usage, timings: Timings, took: Duration) {
        let labels = self.labels_with("finished", ending.name());
        self.all.requests.get_or_create(&labels).inc();
        let tokens = (usage.prompt_tokens, usage.cached_tokens);
        self.recent.finished(timings.queue, took, tokens);
        self.observe(&self.all.queue, timings.queue);
        self.observe(&self.all.request, took);
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        for (source, tokens) in [
            ("computed", computed),
            ("cached", usage.cached_tokens),
            ("recomputed", usage.recomputed_tokens),
        ] {
            let labels = self.labels_with("source", source);
            self.all
                .prompt_tokens
                .get_or_create(&labels)
                .inc_by(tokens as u64);
        }
    }

    pub fn census(&self, census: &Census) {
        let labels = self.labels();
        self.all
            .running
            .get_or_create(&labels)
            .set(census.running as i64);
        self.all
            .waiting
            .get_or_create(&labels)
            .set(census.waiting as i64);
        self.all
            .preemptions
            .get_or_create(&labels)
            .set(census.preemptions.cast_signed());
        let used = census.blocks - census.free_blocks - census.cached_blocks;
        for (state, blocks) in [
            ("used", used),
            ("cached", census.cached_blocks),
            ("free", census.free_blocks),
        ] {
            let labels = self.labels_with("state", state);
            self.all.blocks.get_or_create(&labels).set(blocks as i64);
        }
    }
}
