//! What ran: everything that the probe saw, on one clock that starts at 0.

use serde::{Deserialize, Serialize};

use crate::{Error, MachineProfile, ModelSummary, Record, Site, Span, span_columns};

/// What ran. Times are nanoseconds from the start of the trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// `carnot.trace`.
    pub schema: String,
    /// The version of the schema.
    pub version: u32,
    /// What ran where, if whoever recorded knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<TracedRun>,
    /// From the first event to the last.
    pub duration_ns: u64,
    /// The threads that recorded something; the first is the engine's, worker 0.
    pub threads: Vec<Thread>,
    /// Where spans come from.
    pub sites: Vec<Site>,
    /// Intervals, in any order.
    #[serde(with = "span_columns")]
    pub spans: Vec<Span>,
    /// Samples of values over time.
    #[serde(default)]
    pub counters: Vec<CounterSample>,
    /// Moments.
    #[serde(default)]
    pub instants: Vec<Instant>,
    /// Arrows from span to span.
    #[serde(default)]
    pub flows: Vec<Flow>,
    /// Memory taken and given back.
    #[serde(default)]
    pub memory: Vec<MemoryEvent>,
    /// Look-ups in caches.
    #[serde(default)]
    pub cache: Vec<CacheEvent>,
    /// Frames of a video pipeline.
    #[serde(default)]
    pub frames: Vec<FrameEvent>,
    /// Events that did not fit in the probe's buffers; when not 0, sums over the trace are too low.
    #[serde(default)]
    pub dropped: u64,
    /// What recording cost.
    #[serde(default)]
    pub cost: ProbeCost,
}

/// What the events of a trace do not say: what ran where, and what the machine allowed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TracedRun {
    /// The model that ran.
    pub model: ModelSummary,
    /// Threads that computed.
    pub threads: u32,
    /// The machine, with the ceilings that floors are computed from.
    pub machine: MachineProfile,
}

/// A thread that recorded something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// What spans and instants refer to.
    pub id: u32,
    /// The name, such as `main` or `worker 1`.
    pub name: String,
    /// The thread that recorded this one's spans for it, and so bore the cost; `None` when it did so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_by: Option<u32>,
}

/// One sample of a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterSample {
    /// The counter.
    pub name: String,
    /// When.
    pub time_ns: u64,
    /// The value from this moment on.
    pub value: f64,
    /// The unit of `value`, such as `bytes`, or empty.
    #[serde(default)]
    pub unit: String,
}

/// One moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// What happened.
    pub name: String,
    /// A thread's `id`.
    pub thread: u32,
    /// When.
    pub time_ns: u64,
}

/// An arrow: the span `to` was caused by the span `from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The same for all arrows of one chain.
    pub id: u64,
    /// Index into [`Trace::spans`].
    pub from: u32,
    /// Index into [`Trace::spans`].
    pub to: u32,
}

/// Memory taken or given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEvent {
    /// When.
    pub time_ns: u64,
    /// For what: `weights`, `kv_cache`, `arena`.
    pub owner: String,
    /// Positive when taken, negative when given back.
    pub bytes: i64,
    /// The same for an allocation and its release, such as the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// What came of a cache look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// It was there.
    Hit,
    /// It was not there.
    Miss,
    /// It was thrown out to make room.
    Evict,
}

/// One event of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEvent {
    /// When.
    pub time_ns: u64,
    /// Which cache.
    pub cache: String,
    /// What happened.
    pub outcome: CacheOutcome,
    /// The entry's size.
    pub bytes: u64,
    /// Stands for the entry, such as a hash of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
}

/// Frames of a stream: delivered, or given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameEvent {
    /// When they were ready, or given up.
    pub time_ns: u64,
    /// Which stream.
    #[serde(default)]
    pub stream: String,
    /// The number of the first.
    pub index: u64,
    /// How many were delivered; 0 where some were given up.
    #[serde(default = "one")]
    pub count: u64,
    /// How many were given up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// How long generating it took.
    #[serde(default)]
    pub generate_ns: u64,
    /// How long encoding it took.
    #[serde(default)]
    pub encode_ns: u64,
    /// How long sending took, where somebody knows.
    #[serde(default)]
    pub send_ns: u64,
    /// The encoded size.
    #[serde(default)]
    pub bytes: u64,
    /// Frames that wait in the buffer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<u64>,
    /// The prompt that they show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Default for FrameEvent {
    fn default() -> Self {
        Self {
            time_ns: 0,
            stream: String::new(),
            index: 0,
            count: 1,
            dropped: 0,
            generate_ns: 0,
            encode_ns: 0,
            send_ns: 0,
            bytes: 0,
            occupancy: None,
            prompt: None,
        }
    }
}

/// What recording cost, measured on the machine and in the process that recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeCost {
    /// Events that were recorded.
    pub events: u64,
    /// Events that were lost.
    pub dropped: u64,
    /// What one span costs the thread that records it.
    pub span_ns: f64,
    /// What one span costs that is recorded after the fact, from times that were read anyway, as those of operations
    /// are; 0 when it was not measured, and `span_ns` then stands for it.
    #[serde(default)]
    pub recorded_span_ns: f64,
    /// What one reading of the clock costs.
    pub clock_read_ns: f64,
    /// The cost of all events on all threads.
    pub total_ns: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: Self::VERSION,
            run: None,
            duration_ns: 0,
            threads: Vec::new(),
            sites: Vec::new(),
            spans: Vec::new(),
            counters: Vec::new(),
            instants: Vec::new(),
            flows: Vec::new(),
            memory: Vec::new(),
            cache: Vec::new(),
            frames: Vec::new(),
            dropped: 0,
            cost: ProbeCost::default(),
        }
    }
}

impl Record for Trace {
    const SCHEMA: &'static str = "carnot.trace";
    const VERSION: u32 = 1;
    const INDENTED: bool = false;

    fn validate(&self) -> Result<(), Error> {
        for (row, span) in self.spans.iter().enumerate() {
            check_index("site", row, span.site, self.sites.len())?;
            if let Some(parent) = span.parent {
                check_index("parent", row, parent, self.spans.len())?;
            }
            if span.end_ns < span.start_ns {
                return Err(invalid(
                    format!("spans.end_ns[{row}]"),
                    format!("at least {}", span.start_ns),
                    span.end_ns,
                ));
            }
        }
        self.flows.iter().enumerate().try_for_each(|(row, flow)| {
            let end = flow.from.max(flow.to);
            check_index("flow", row, end, self.spans.len())
        })
    }
}

impl Trace {
    /// The site of a span; an empty one when the index points nowhere.
    pub fn site(&self, span: &Span) -> &Site {
        const NOWHERE: &Site = &Site {
            name: String::new(),
            kind: crate::SpanKind::Other,
            file: String::new(),
            line: 0,
        };
        self.sites.get(span.site as usize).unwrap_or(NOWHERE)
    }
}

fn check_index(field: &str, row: usize, index: u32, length: usize) -> Result<(), Error> {
    if (index as usize) < length {
        return Ok(());
    }
    Err(invalid(
        format!("spans.{field}[{row}]"),
        format!("an index below {length}"),
        index.into(),
    ))
}

fn invalid(field: String, expected: String, found: u64) -> Error {
    Error::Invalid {
        schema: Trace::SCHEMA,
        field,
        expected,
        found: found.to_string(),
    }
}
