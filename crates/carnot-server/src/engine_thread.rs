//! The thread that owns an engine: commands in, updates out, step after step.
//!
//! It alone knows what became of a request. A reader that is gone (its channel is closed) is cancelled at the next turn, in whatever state its
//! request is; one that does not read (its channel is full) pauses its sequence, and is cancelled after a while. Every
//! request ends with exactly one [`Update::Finished`], after which its sender is dropped.

mod turns;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use carnot_engine::{
    Census, EngineError, ModelInfo, TextCodec, TextEngine, TextRequest, TokenLogprobs, Usage,
};
use tokio::sync::{mpsc, oneshot};

use self::turns::Turns;
use crate::admission::Ledger;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::settings::SharedSettings;
use crate::traces::{ORIGIN, Origin, Traces};

/// Updates of a request that may wait for its reader.
const CHANNEL: usize = 256;

/// Something that happened to a request; which of several choices is told with it.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// So many tokens of the prompt have been processed.
    Progress(Progress),
    /// A token was generated.
    Token {
        token: u32,
        text: String,
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// The vector that was asked for.
    Embedding(Vec<f32>),
    /// It has ended; nothing follows.
    Finished(Box<Finished>),
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub ending: Ending,
    /// Text that was held back until now.
    pub text: String,
    pub usage: Usage,
    pub timings: Timings,
    /// Sequences that ran in the same steps, on average, this one among them.
    pub batch: f64,
}

/// How far a prompt is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Tokens of the prompt.
    pub total: usize,
    /// Those that did not have to be computed.
    pub cached: usize,
    /// Those that are done, the cached ones among them.
    pub processed: usize,
    /// Since the request got its place.
    pub took: Duration,
}

/// Why a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Stop,
    Length,
    /// Its reader is gone.
    Cancelled,
    /// It waited for a place for too long.
    QueueTimeout,
    /// It took too long.
    Deadline,
    /// Its reader did not read.
    SlowReader,
    Failed(String),
}

impl Ending {
    /// The name that metrics use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::QueueTimeout => "queue_timeout",
            Self::Deadline => "deadline",
            Self::SlowReader => "slow_reader",
            Self::Failed(_) => "failed",
        }
    }
}

/// Where a request's time went, by the engine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timings {
    /// From its submission to its place.
    pub queue: Duration,
    /// From its place to its first token.
    pub prefill: Duration,
    /// From its first token to its last.
    pub decode: Duration,
}

/// Where updates of a request go, with the index of the choice that they belong to.
pub(crate) type Updates = mpsc::Sender<(usize, Update)>;

/// A channel for the updates of a request.
pub(crate) fn updates() -> (Updates, mpsc::Receiver<(usize, Update)>) {
    mpsc::channel(CHANNEL)
}

enum Command {
    Submit(Box<Submission>),
    Flush(oneshot::Sender<usize>),
    List(oneshot::Sender<Vec<UnderWay>>),
    /// All sequences of a request; how many there were.
    Cancel(Arc<str>, oneshot::Sender<usize>),
}

/// A sequence that waits or runs.
#[derive(Clone, Debug)]
pub(crate) struct UnderWay {
    pub name: Arc<str>,
    pub choice: usize,
    pub tenant: Arc<str>,
    pub priority: u8,
    pub state: &'static str,
    pub prompt_tokens: usize,
    pub generated_tokens: usize,
    pub age: Duration,
}

struct Submission {
    request: TextRequest,
    name: Arc<str>,
    choice: usize,
    updates: Updates,
    submitted: Duration,
    origin: Option<Origin>,
    refused: oneshot::Sender<EngineError>,
}

/// An engine at work, seen from the outside.
pub(crate) struct EngineHandle {
    pub model: ModelInfo,
    pub codec: Arc<dyn TextCodec>,
    pub ledger: Arc<Ledger>,
    pub recent: Recent,
    census: Arc<Mutex<Census>>,
    commands: Mutex<Sender<Command>>,
    begin: Instant,
}

impl EngineHandle {
    /// Starts the thread.
    pub fn start(
        engine: Box<dyn TextEngine + Send>,
        settings: SharedSettings,
        metrics: &Metrics,
        traces: &Traces,
    ) -> io::Result<Self> {
        let (sender, commands) = channel();
        let (model, codec) = (engine.model().clone(), engine.codec());
        let (ledger, census) = (Arc::<Ledger>::default(), Arc::<Mutex<Census>>::default());
        let begin = Instant::now();
        let metrics = metrics.engine(&model.name);
        let recent = metrics.recent.clone();
        let turns = Turns::new(
            engine,
            settings,
            (Arc::clone(&ledger), Arc::clone(&census)),
            (metrics, traces.clone()),
            begin,
        );
        thread::Builder::new()
            .name(format!("engine {}", model.name))
            .spawn(move || turns.run(&commands))?;
        Ok(Self {
            model,
            codec,
            ledger,
            recent,
            census,
            commands: Mutex::new(sender),
            begin,
        })
    }

    /// The time of the engine's clock.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// What the engine had after its last turn.
    pub fn census(&self) -> Census {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a request that was admitted. Awaiting what is returned, at most until the engine's next turn, tells
    /// whether the engine took it.
    pub fn submit(
        &self,
        request: TextRequest,
        (name, choice): (&Arc<str>, usize),
        updates: Updates,
    ) -> impl Future<Output = Result<(), ApiError>> + use<> {
        let (refused, refusal) = oneshot::channel();
        self.send(Command::Submit(Box::new(Submission {
            request,
            name: Arc::clone(name),
            choice,
            updates,
            submitted: self.now(),
            origin: ORIGIN.try_with(Clone::clone).unwrap_or_default(),
            refused,
        })));
        async {
            match refusal.await {
                Ok(error) => Err(ApiError::from(error)),
                // The sender is dropped where the engine took the request.
                Err(_) => Ok(()),
            }
        }
    }

    /// Forgets kept prefixes; returns how many blocks that freed.
    pub async fn flush(&self) -> usize {
        let (freed, answer) = oneshot::channel();
        self.send(Command::Flush(freed));
        answer.await.unwrap_or(0)
    }

    /// Everything that waits or runs.
    pub async fn under_way(&self) -> Vec<UnderWay> {
        let (list, answer) = oneshot::channel();
        self.send(Command::List(list));
        answer.await.unwrap_or_default()
    }

    /// Gives up all sequences of a request; returns how many there were.
    pub async fn cancel(&self, name: &str) -> usize {
        let (cancelled, answer) = oneshot::channel();
        self.send(Command::Cancel(name.into(), cancelled));
        answer.await.unwrap_or(0)
    }

    fn send(&self, command: Command) {
        let commands = self.commands.lock();
        let commands = commands.unwrap_or_else(PoisonError::into_inner);
        // The thread ends only when all handles are gone; if it died, its updates end, and readers see that.
        let _ = commands.send(command);
    }
}
