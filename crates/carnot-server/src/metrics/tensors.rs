//! What is counted of tensor models.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Histograms, Labels, seconds};

/// The metrics of tensor models, by model.
#[derive(Clone)]
pub(super) struct Families {
    requests: Family<Labels, Counter>,
    rows: Family<Labels, Counter>,
    batches: Family<Labels, Counter>,
    retried: Family<Labels, Counter>,
    waiting: Family<Labels, Gauge>,
    lookups: Family<Labels, Counter>,
    batch_rows: Histograms,
    occupancy: Histograms,
    run: Histograms,
    queue: Histograms,
    request: Histograms,
}

/// 1, 2, 4 and so on to 1,024 rows.
fn rows() -> Histogram {
    Histogram::new((0..11).map(|power| f64::from(1 << power)))
}

/// Eighths.
fn shares() -> Histogram {
    Histogram::new((1..=8).map(|eighth| f64::from(eighth) / 8.0))
}

impl Families {
    pub fn new() -> Self {
        Self {
            requests: Family::default(),
            rows: Family::default(),
            batches: Family::default(),
            retried: Family::default(),
            waiting: Family::default(),
            lookups: Family::default(),
            batch_rows: Family::new_with_constructor(rows),
            occupancy: Family::new_with_constructor(shares),
            run: Family::new_with_constructor(seconds),
            queue: Family::new_with_constructor(seconds),
            request: Family::new_with_constructor(seconds),
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests of tensor models that have ended, by how";
        registry.register("tensor_requests", help, self.requests.clone());
        let help = "Rows that tensor models computed";
        registry.register("tensor_rows", help, self.rows.clone());
        let help = "Runs of tensor models";
        registry.register("tensor_batches", help, self.batches.clone());
        let help = "Runs that failed and whose requests ran one by one";
        registry.register("tensor_batches_retried", help, self.retried.clone());
        let help = "Requests of tensor models that wait for a run";
        registry.register("tensor_requests_waiting", help, self.waiting.clone());
        let help =
            "Results that were looked for among those that are kept, by where they came from";
        registry.register("tensor_result_lookups", help, self.lookups.clone());
        let help = "Rows of a run";
        registry.register("tensor_batch_rows", help, self.batch_rows.clone());
        let help = "Rows of a run, of the most that there may be";
        registry.register("tensor_batch_occupancy_ratio", help, self.occupancy.clone());
        let mut seconds = |name: &str, help: &str, histograms: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
        };
        seconds("tensor_run", "A run of a tensor model", &self.run);
        let help = "From submission of a request to its run";
        seconds("tensor_queue", help, &self.queue);
        let help = "From submission of a request to its end";
        seconds("tensor_request", help, &self.request);
    }

    pub fn model(&self, model: &str) -> TensorMetrics {
        let labels = vec![("model", model.to_owned())];
        TensorMetrics {
            model: model.to_owned(),
            requests: self.requests.clone(),
            lookups: self.lookups.clone(),
            rows: self.rows.get_or_create(&labels).clone(),
            batches: self.batches.get_or_create(&labels).clone(),
            retried: self.retried.get_or_create(&labels).clone(),
            waiting: self.waiting.get_or_create(&labels).clone(),
            batch_rows: self.batch_rows.get_or_create(&labels).clone(),
            occupancy: self.occupancy.get_or_create(&labels).clone(),
            run: self.run.get_or_create(&labels).clone(),
            queue: self.queue.get_or_create(&labels).clone(),
            request: self.request.get_or_create(&labels).clone(),
        }
    }
}

/// The metrics of one model, each found once.
pub(crate) struct TensorMetrics {
    model: String,
    requests: Family<Labels, Counter>,
    lookups: Family<Labels, Counter>,
    rows: Counter,
    batches: Counter,
    retried: Counter,
    waiting: Gauge,
    batch_rows: Histogram,
    occupancy: Histogram,
    run: Histogram,
    queue: Histogram,
    request: Histogram,
}

impl TensorMetrics {
    /// So many requests wait.
    pub fn waiting(&self, requests: usize) {
        self.waiting.set(requests as i64);
    }

    /// A run of `rows` rows, of `most`.
    pub fn ran(&self, rows: usize, most: usize, took: Duration) {
        self.rows.inc_by(rows as u64);
        self.batches.inc();
        self.batch_rows.observe(rows as f64);
        self.occupancy.observe(rows as f64 / most.max(1) as f64);
        self.run.observe(took.as_secs_f64());
    }

    /// A run failed, and its requests run one by one.
    pub fn retried(&self) {
        self.retried.inc();
    }

    /// A result was looked for, and came from there.
    pub fn looked_up(&self, origin: &'static str) {
        let labels = vec![("model", self.model.clone()), ("origin", origin.to_owned())];
        self.lookups.get_or_create(&labels).inc();
    }

    /// A request waited for so long for its run.
    pub fn queued(&self, waited: Duration) {
        self.queue.observe(waited.as_secs_f64());
    }

    /// A request has ended.
    pub fn finished(&self, ending: &'static str, took: Duration) {
        let labels = vec![
            ("model", self.model.clone()),
            ("finished", ending.to_owned()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.request.observe(took.as_secs_f64());
    }
}
