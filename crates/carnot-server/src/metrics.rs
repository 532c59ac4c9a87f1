//! What is counted, and its exposition in the OpenMetrics text format.
//!
//! Times are taken by the engine's thread, where they happen; what a proxy or a slow reader adds is not in them. Labels have few
//! values: the model, and where it says so a reason.

mod tensors;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carnot_engine::{Census, StepOutcome, Usage};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::tensors::TensorMetrics;
use crate::engine_thread::{Ending, Timings};
use crate::recent::Recent;

type Labels = Vec<(&'static str, String)>;
type Ratio = Gauge<f64, AtomicU64>;
type Seconds = Counter<f64, AtomicU64>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Another server whose names of metrics can be told beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// vLLM, whose names gateways and dashboards read.
    Vllm,
}

/// What an engine's thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// There is nothing to do.
    Idle,
    /// All that could run waits for its readers.
    Paused,
    /// A step of the engine.
    Step,
    /// Taking requests, passing tokens on, counting.
    Transport,
}

impl Activity {
    /// In the order of their values.
    const ALL: [Self; 4] = [Self::Idle, Self::Paused, Self::Step, Self::Transport];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Paused => "paused",
            Self::Step => "step",
            Self::Transport => "transport",
        }
    }
}

/// Shares of the time of an engine's steps that somebody measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub efficiency: f64,
    pub losses: Vec<(String, f64)>,
}

/// Where those who measure an engine's losses tell them.
#[derive(Clone)]
pub struct LossGauges(Metrics);

impl LossGauges {
    /// Of the time that the steps of `model` took, `efficiency` was needed; the rest went into `losses`, each with its share.
    pub fn set(&self, model: &str, efficiency: f64, losses: Vec<(String, f64)>) {
        let labels = |loss: &str| vec![("model", model.to_owned()), ("loss", loss.to_owned())];
        let label = vec![("model", model.to_owned())];
        self.0.efficiency.get_or_create(&label).set(efficiency);
        let all = self.0.measured.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        // What was not seen this time is not there any more.
        for (loss, _) in all.remove(model).unwrap_or_default().losses {
            self.0.losses.remove(&labels(&loss));
        }
        for (loss, share) in &losses {
            self.0.losses.get_or_create(&labels(loss)).set(*share);
        }
        all.insert(model.to_owned(), Measured { efficiency, losses });
    }
}

/// Every metric of the server.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<Labels, Counter>,
    rejections: Family<Labels, Counter>,
    prompt_tokens: Family<Labels, Counter>,
    generated_tokens: Family<Labels, Counter>,
    preemptions: Family<Labels, Counter>,
    running: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    blocks: Family<Labels, Gauge>,
    kv_used: Family<Labels, Ratio>,
    efficiency: Family<Labels, Ratio>,
    losses: Family<Labels, Ratio>,
    activity: Family<Labels, Seconds>,
    measured: Arc<Mutex<HashMap<String, Measured>>>,
    steps: Histograms,
    step_tokens: Histograms,
    first_token: Histograms,
    inter_token: Histograms,
    queue: Histograms,
    request: Histograms,
    tensors: tensors::Families,
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
            kv_used: Family::default(),
            efficiency: Family::default(),
            losses: Family::default(),
            activity: Family::default(),
            measured: Arc::default(),
            steps: Family::new_with_constructor(seconds),
            step_tokens: Family::new_with_constructor(tokens),
            first_token: Family::new_with_constructor(seconds),
            inter_token: Family::new_with_constructor(seconds),
            queue: Family::new_with_constructor(seconds),
            request: Family::new_with_constructor(seconds),
            tensors: tensors::Families::new(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry();
        let registry = registry.sub_registry_with_prefix("carnot");
        let (name, help) = ("requests", "Requests that have ended, by how");
        registry.register(name, help, self.requests.clone());
        let help = "Requests that were not let in, by the code of the answer";
        registry.register("admission_rejections", help, self.rejections.clone());
        let help = "Prompt tokens by where their keys and values came from";
        registry.register("prompt_tokens", help, self.prompt_tokens.clone());
        let help = "Tokens that were generated";
        registry.register("generated_tokens", help, self.generated_tokens.clone());
        let help = "Sequences that had to make room for others since the start";
        registry.register("preemptions", help, self.preemptions.clone());
        let help = "Requests that have a place";
        registry.register("requests_running", help, self.running.clone());
        let help = "Requests that wait for a place";
        registry.register("requests_waiting", help, self.waiting.clone());
        let help = "Blocks of keys and values by who holds them";
        registry.register("kv_blocks", help, self.blocks.clone());
        let help = "Blocks of keys and values that running sequences hold, of all";
        registry.register("kv_used_ratio", help, self.kv_used.clone());
        let help = "Tokens that a step computed, of all requests together";
        registry.register("step_tokens", help, self.step_tokens.clone());
        let help = "The least time that the work of the engine's steps can take on this machine, of the time they took";
        registry.register("efficiency_ratio", help, self.efficiency.clone());
        let help = "What the rest of that time went into";
        registry.register("loss_ratio", help, self.losses.clone());
        let help = "Time of the engine's thread by what it did";
        let seconds = Unit::Seconds;
        registry.register_with_unit("engine_thread", help, seconds, self.activity.clone());
        let mut seconds = |name: &str, help: &str, histograms: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
        };
        seconds("step", "A step of the engine", &self.steps);
        let help = "From submission to the first token";
        seconds("time_to_first_token", help, &self.first_token);
        let help = "Between two tokens of a request, in the engine";
        seconds("inter_token_latency", help, &self.inter_token);
        seconds("queue", "From submission to a place", &self.queue);
        seconds("request", "From submission to the end", &self.request);
        self.tensors.register(registry);
    }

    /// The names of vLLM that gateways and dashboards read, for the same values.
    pub fn add_names(&self, Compatibility::Vllm: Compatibility) {
        let mut registry = self.registry();
        let help = "Requests that have a place";
        registry.register("vllm:num_requests_running", help, self.running.clone());
        let help = "Requests that wait for a place";
        registry.register("vllm:num_requests_waiting", help, self.waiting.clone());
        let help = "Blocks of keys and values that running sequences hold, of all";
        registry.register("vllm:kv_cache_usage_perc", help, self.kv_used.clone());
        let help = "Prompt tokens by where their keys and values came from";
        registry.register("vllm:prompt_tokens", help, self.prompt_tokens.clone());
        let help = "Tokens that were generated";
        registry.register(
            "vllm:generation_tokens",
            help,
            self.generated_tokens.clone(),
        );
        let help = "Requests that have ended, by how";
        registry.register("vllm:request_success", help, self.requests.clone());
        let mut seconds = |name: &str, help: &str, histograms: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
        };
        let help = "From submission to the first token";
        seconds("vllm:time_to_first_token", help, &self.first_token);
        let help = "Between two tokens of a request, in the engine";
        seconds("vllm:inter_token_latency", help, &self.inter_token);
        let help = "From submission to the end";
        seconds("vllm:e2e_request_latency", help, &self.request);
        let help = "From submission to a place";
        seconds("vllm:request_queue_time", help, &self.queue);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where measured losses are told.
    pub fn losses(&self) -> LossGauges {
        LossGauges(self.clone())
    }

    /// The last measured losses of a model, by name.
    pub fn measured(&self, model: &str) -> Option<Measured> {
        let measured = self.measured.lock();
        let measured = measured.unwrap_or_else(PoisonError::into_inner);
        measured.get(model).cloned()
    }

    /// What an engine's thread counts.
    pub fn engine(&self, model: &str) -> EngineMetrics {
        let labels = vec![("model", model.to_owned())];
        let with = |name, value: &str| vec![("model", model.to_owned()), (name, value.to_owned())];
        let activity = |activity: Activity| {
            let labels = with("activity", activity.name());
            self.activity.get_or_create(&labels).clone()
        };
        let blocks = |state| self.blocks.get_or_create(&with("state", state)).clone();
        let source = |source| {
            let labels = with("source", source);
            self.prompt_tokens.get_or_create(&labels).clone()
        };
        let histogram = |family: &Histograms| family.get_or_create(&labels).clone();
        EngineMetrics {
            recent: Recent::default(),
            model: model.to_owned(),
            requests: self.requests.clone(),
            prompt_tokens: ["computed", "cached", "recomputed"].map(source),
            generated_tokens: self.generated_tokens.get_or_create(&labels).clone(),
            preemptions: self.preemptions.get_or_create(&labels).clone(),
            running: self.running.get_or_create(&labels).clone(),
            waiting: self.waiting.get_or_create(&labels).clone(),
            blocks: ["used", "cached", "free"].map(blocks),
            kv_used: self.kv_used.get_or_create(&labels).clone(),
            activities: Activity::ALL.map(activity),
            steps: histogram(&self.steps),
            step_tokens: histogram(&self.step_tokens),
            first_token: histogram(&self.first_token),
            inter_token: histogram(&self.inter_token),
            queue: histogram(&self.queue),
            request: histogram(&self.request),
        }
    }

    /// What is counted of a tensor model.
    pub fn tensors(&self, model: &str) -> TensorMetrics {
        self.tensors.model(model)
    }

    /// A request was not let in.
    pub fn rejected(&self, code: &'static str) {
        let labels = vec![("reason", code.to_owned())];
        self.rejections.get_or_create(&labels).inc();
    }

    /// Counts what no collector took of traces. It is there where they are exported.
    pub fn dropped_traces(&self) -> Counter {
        let dropped = Counter::default();
        let help = "Traces of requests that the collector did not take";
        let mut registry = self.registry();
        let registry = registry.sub_registry_with_prefix("carnot");
        registry.register("traces_dropped", help, dropped.clone());
        dropped
    }

    /// All of them, as text.
    pub fn render(&self) -> String {
        let registry = self.registry();
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            // Writing to a string does not fail; were it to, the scrape should say so.
            let _ = write!(text, "# the metrics could not be written\n# EOF\n");
        }
        text
    }
}

/// The metrics of one engine, each found once: its thread counts at every token.
pub(crate) struct EngineMetrics {
    pub recent: Recent,
    model: String,
    requests: Family<Labels, Counter>,
    prompt_tokens: [Counter; 3],
    generated_tokens: Counter,
    preemptions: Counter,
    running: Gauge,
    waiting: Gauge,
    blocks: [Gauge; 3],
    kv_used: Ratio,
    activities: [Seconds; 4],
    steps: Histogram,
    step_tokens: Histogram,
    first_token: Histogram,
    inter_token: Histogram,
    queue: Histogram,
    request: Histogram,
}

impl EngineMetrics {
    pub fn step(&self, outcome: StepOutcome, took: Duration) {
        let tokens = outcome.prefill_tokens + outcome.decode_tokens;
        if tokens > 0 {
            self.steps.observe(took.as_secs_f64());
            self.step_tokens.observe(tokens as f64);
        }
    }

    pub fn activity(&self, activity: Activity, took: Duration) {
        self.activities[activity as usize].inc_by(took.as_secs_f64());
    }

    pub fn first_token(&self, after: Duration) {
        self.recent.first_token(after);
        self.first_token.observe(after.as_secs_f64());
        self.generated_tokens.inc();
    }

    pub fn token(&self, after: Duration) {
        self.recent.token(after);
        self.inter_token.observe(after.as_secs_f64());
        self.generated_tokens.inc();
    }

    pub fn finished(&self, ending: &Ending, usage: &Usage, timings: Timings, took: Duration) {
        let labels = vec![
            ("model", self.model.clone()),
            ("finished", ending.name().to_owned()),
        ];
        self.requests.get_or_create(&labels).inc();
        let tokens = (usage.prompt_tokens, usage.cached_tokens);
        self.recent.finished(timings.queue, took, tokens);
        self.queue.observe(timings.queue.as_secs_f64());
        self.request.observe(took.as_secs_f64());
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        let sources = [computed, usage.cached_tokens, usage.recomputed_tokens];
        for (counter, tokens) in self.prompt_tokens.iter().zip(sources) {
            counter.inc_by(tokens as u64);
        }
    }

    pub fn census(&self, census: &Census) {
        self.running.set(census.running as i64);
        self.waiting.set(census.waiting as i64);
        let more = census.preemptions - self.preemptions.get();
        self.preemptions.inc_by(more);
        let used = census.blocks - census.free_blocks - census.cached_blocks;
        let states = [used, census.cached_blocks, census.free_blocks];
        for (gauge, blocks) in self.blocks.iter().zip(states) {
            gauge.set(blocks as i64);
        }
        self.kv_used.set(used as f64 / census.blocks.max(1) as f64);
    }
}
