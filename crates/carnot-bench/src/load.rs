//! Load on a server that speaks OpenAI's interface or the Open Inference Protocol, ours or not, and what its clients saw.
//!
//! ```text
//! arrivals   when requests are due          pacer (a thread) ── at its time ──▶ a task each: client ── events ──▶ Answer
//! client     a request and its stream                                                                        │
//! conversation  its turns, each due when the one before is answered and thought over                         │
//! prompts    what is asked where nobody says what
//! tensors    what is asked of a server of tensors
//! replay     what others asked, and when: traces of several forms
//! figures    latencies from the due time, and how late the client itself was ◀───────────────────────────────┤
//! saturation whether it got worse and worse ◀────────────────────────────────────────────────────────────────┤
//! raw        what is kept of answers: times ◀────────────────────────────────────────────────────────────────┘
//! hdr        their latencies as a log of HDR histograms
//! server_metrics  what the server says of itself meanwhile, on the load's axis of time
//! views      the figures of other tools, out of the same times, by their own definitions (numpy: to the last digit)
//! search     the highest rate that holds
//! ```
//!
//! **A request counts from when it was due**, not from when it was sent: a generator that waits for a slow server, and then counts from when it
//! got around to asking, leaves out just the delays that its users would have had (coordinated omission: Tene, 2013). The other view,
//! from the time of sending, is told beside. Where the generator was late itself its figures say more of it than of the server, and the run is void.

mod arrivals;
pub(crate) mod client;
mod conversation;
mod figures;
mod hdr;
mod numpy;
mod prompts;
mod raw;
mod replay;
mod saturation;
mod search;
mod server_metrics;
mod tensors;
mod views;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};

pub use arrivals::Arrivals;
pub use client::{Answer, Endpoint, Failure, Target};
pub use figures::{Figures, Latencies, Objectives, Void, each, first, gaps, lag, whole};
pub use hdr::{HdrRun, write_hdr};
pub use prompts::{Shape, asks, prompts};
pub use raw::{Raw, read_raw, write_raw};
pub use replay::{Replay, TraceForm};
pub use saturation::{Saturation, saturation};
pub use search::Search;
pub use server_metrics::{MetricLine, MetricsPage, MetricsWatch, Role, ServerMetrics};
pub use tensors::{
    ModelMetadata, Sizes, TensorError, TensorMetadata, TensorShape, bodies, tensor_shapes, tensors,
};
pub use views::{View, view};

pub(crate) use client::{Connections, Prepared};

use conversation::Alarm;

/// Threads that read answers.
const READERS: usize = 2;
/// How often answers are gathered.
const LOOK: Duration = Duration::from_millis(20);

/// What is asked, and when.
#[derive(Clone, Debug)]
pub struct Load {
    /// Whom.
    pub target: Target,
    /// When.
    pub arrivals: Arrivals,
    /// For how long requests come.
    pub duration: Duration,
    /// What they are, one after another and again from the first.
    pub asks: Vec<Ask>,
    /// From an answer to when the next turn of its conversation is due.
    pub think: Duration,
    /// Of the arrivals.
    pub seed: u64,
}

/// What is asked once, and what in the turns after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The prompt, or the user's message; of tensors the body as it is sent.
    pub prompt: Arc<str>,
    /// Tokens that the answer has to have, in each turn; of tensors the rows that are asked for.
    pub tokens: usize,
    /// What is said in each turn after the first, to all that was said before.
    pub later: Vec<Arc<str>>,
}

impl Ask {
    /// All `prompts`, with answers of so many tokens.
    pub fn all(prompts: Vec<String>, tokens: usize) -> Vec<Self> {
        let ask = |prompt: String| Self {
            prompt: prompt.into(),
            tokens,
            later: Vec::new(),
        };
        prompts.into_iter().map(ask).collect()
    }

    /// Requests of the conversation.
    pub fn turns(&self) -> usize {
        1 + self.later.len()
    }
}

/// A load that cannot be put on a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is asked.
    #[error("expected at least one prompt, got none")]
    Nothing,
    /// No threads.
    #[error("starting the threads that read answers: {0}")]
    Threads(#[from] std::io::Error),
    /// The server does not answer even one request.
    #[error("{url}: {failure}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What came instead of an answer.
        failure: Failure,
    },
}

/// A run of a load.
#[derive(Debug)]
pub struct Run {
    /// The first due time that there could have been.
    pub begin: Instant,
    /// What became of each request, in the order in which they were due.
    pub answers: Vec<Answer>,
    /// From the first due time to the last end.
    pub wall: Duration,
    /// Share of one core that this process used meanwhile; `None` where the system does not tell.
    pub cores: Option<f64>,
}

/// Puts `load` on its server; `progress(done)` is called as answers come.
///
/// # Errors
/// If a first request, which is not counted, is not answered.
pub fn put(load: &Load, mut progress: impl FnMut(usize)) -> Result<Run, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(READERS)
        .enable_all()
        .build()?;
    let connections = Arc::new(Connections::new(load.target.clone()));
    let first = load.asks.first().ok_or(Error::Nothing)?;
    let first = Ask {
        // Of tensors, which are sent as they are, the rows are only counted.
        tokens: first.tokens.min(2),
        later: Vec::new(),
        ..first.clone()
    };
    let first = load.target.prepare(&first);
    let first = runtime.block_on(client::ask(&connections, &first, Instant::now()));
    if let Err(failure) = first.outcome {
        let url = load.target.to_string();
        return Err(Error::Unreachable { url, failure });
    }
    let prepared = load.asks.iter().map(|ask| load.target.prepare(ask));
    let prepared: Arc<[Prepared]> = prepared.collect();
    let thinks = !load.think.is_zero() && load.asks.iter().any(|ask| !ask.later.is_empty());
    let used = processor_seconds();
    let begin = Instant::now() + Duration::from_millis(20);
    let (sender, answers) = mpsc::channel();
    let pacer = {
        let load = load.clone();
        let work = Work {
            asks: load.asks.as_slice().into(),
            prepared,
            connections,
            think: load.think,
            alarm: thinks.then(Alarm::new),
            answers: sender,
            handle: runtime.handle().clone(),
        };
        thread::spawn(move || pace(&load, begin, &work))
    };
    let mut told = Vec::new();
    // Looks now and then: to be woken for each answer would cost those who read them more than reading.
    while let Some(more) = gather(&answers, &mut told) {
        progress(told.len());
        if more == 0 {
            thread::sleep(LOOK);
        }
    }
    // It has ended, since its channel has; a panic of it is ours.
    pacer.join().unwrap_or_else(|panic| resume_unwind(panic));
    let wall = told
        .iter()
        .map(|answer: &Answer| answer.ended)
        .max()
        .map_or(Duration::ZERO, |end| end - begin);
    told.sort_by_key(|answer| answer.due);
    let cores = used
        .zip(processor_seconds())
        .map(|(before, after)| (after - before) / wall.as_secs_f64().max(1e-9));
    Ok(Run {
        begin,
        answers: told,
        wall,
        cores,
    })
}

/// Takes all answers that are there; `None` when none will come any more.
fn gather(answers: &mpsc::Receiver<Answer>, told: &mut Vec<Answer>) -> Option<usize> {
    let before = told.len();
    loop {
        match answers.try_recv() {
            Ok(answer) => told.push(answer),
            Err(TryRecvError::Empty) => return Some(told.len() - before),
            Err(TryRecvError::Disconnected) => return (told.len() > before).then_some(0),
        }
    }
}

/// What those who ask share.
#[derive(Clone)]
struct Work {
    asks: Arc<[Ask]>,
    /// The first turns of them.
    prepared: Arc<[Prepared]>,
    connections: Arc<Connections>,
    think: Duration,
    /// Where somebody thinks.
    alarm: Option<Alarm>,
    answers: mpsc::Sender<Answer>,
    handle: Handle,
}

/// Begins conversations when they are due, or, of so many clients, when the one before is over.
fn pace(load: &Load, begin: Instant, work: &Work) {
    if let Arrivals::Closed { clients } = load.arrivals {
        let end = begin + load.duration;
        for first in 0..clients {
            let mine = work.clone();
            work.handle.spawn(async move {
                let mut index = first;
                while Instant::now() < end && mine.lead(index, Instant::now()).await {
                    index += clients;
                }
            });
        }
        return;
    }
    for (index, offset) in load
        .arrivals
        .offsets(load.seed)
        .take_while(|offset| *offset < load.duration)
        .enumerate()
    {
        let due = begin + offset;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mine = work.clone();
        work.handle
            .spawn(async move { mine.lead(index, due).await });
    }
}

/// Seconds of processors that this process has used.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Hundredths of a second on every Linux that is in use.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
