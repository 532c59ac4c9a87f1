//! The thread that owns an engine: commands in, updates out, step after step.
//!
//! It alone knows what became of a request. A reader that is gone (its channel is closed) is cancelled at the next turn, in whatever state its
//! request is; one that does not read (its channel is full) pauses its sequence, and is cancelled after a while. Every
//! request ends with exactly one [`Update::Finished`], after which its sender is dropped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use carnot_engine::{
    Census, EngineError, Event, FinishReason, ModelInfo, RequestId, TextCodec, TextEngine,
    TextRequest, TokenLogprobs, Usage,
};
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Ledger, Limits};
use crate::error::ApiError;
use crate::metrics::{EngineMetrics, Metrics};
use crate::recent::Recent;

/// Updates of a request that may wait for its reader.
const CHANNEL: usize = 256;
/// How long the thread waits for a command while sequences are paused.
const PATIENCE: Duration = Duration::from_millis(10);

/// Something that happened to a request; which of several choices is told with it.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// A token was generated.
    Token {
        token: u32,
        text: String,
        logprobs: Option<Box<TokenLogprobs>>,
    },
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
        limits: Limits,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let (sender, commands) = channel();
        let (model, codec) = (engine.model().clone(), engine.codec());
        let (ledger, census) = (Arc::<Ledger>::default(), Arc::<Mutex<Census>>::default());
        let begin = Instant::now();
        let metrics = metrics.engine(&model.name);
        let recent = metrics.recent.clone();
        let turns = Turns {
            engine,
            limits,
            live: HashMap::new(),
            leaving: Vec::new(),
            ledger: Arc::clone(&ledger),
            census: Arc::clone(&census),
            metrics,
            begin,
            did_nothing: false,
        };
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

/// A request that the engine has.
struct Live {
    name: Arc<str>,
    priority: u8,
    generated: usize,
    choice: usize,
    updates: Updates,
    /// Updates that its reader had no room for.
    held: VecDeque<Update>,
    held_since: Option<Duration>,
    tenant: Arc<str>,
    prompt_tokens: usize,
    submitted: Duration,
    started: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Duration,
    /// Why the engine was told to give it up.
    given_up: Option<Ending>,
}

impl Live {
    fn under_way(&self, now: Duration) -> UnderWay {
        UnderWay {
            name: Arc::clone(&self.name),
            choice: self.choice,
            tenant: Arc::clone(&self.tenant),
            priority: self.priority,
            state: match (self.started, self.first_token, self.held_since) {
                (None, ..) => "waiting",
                (_, _, Some(_)) => "paused",
                (_, None, _) => "prefill",
                _ => "decode",
            },
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated,
            age: now.saturating_sub(self.submitted),
        }
    }

    fn timings(&self, now: Duration) -> Timings {
        let started = self.started.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        Timings {
            queue: started.saturating_sub(self.submitted),
            prefill: first.saturating_sub(started),
            decode: self.last_token.saturating_sub(first),
        }
    }

    /// Gives the reader what it has room for; false if it is gone.
    fn deliver(&mut self) -> bool {
        while let Some(update) = self.held.pop_front() {
            match self.updates.try_send((self.choice, update)) {
                Ok(()) => (),
                Err(mpsc::error::TrySendError::Full((_, update))) => {
                    self.held.push_front(update);
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}

/// What the thread owns.
struct Turns {
    engine: Box<dyn TextEngine + Send>,
    limits: Limits,
    live: HashMap<RequestId, Live>,
    /// Requests that have ended, and whose readers have not read everything; with the time of their end.
    leaving: Vec<(Duration, Live)>,
    ledger: Arc<Ledger>,
    census: Arc<Mutex<Census>>,
    metrics: EngineMetrics,
    begin: Instant,
    /// Whether the last step had nothing that it could do.
    did_nothing: bool,
}

impl Turns {
    fn run(mut self, commands: &Receiver<Command>) {
        while let Some(mut command) = self.next(commands) {
            while let Some(this) = command {
                self.execute(this);
                command = commands.try_recv().ok();
            }
            self.look_after_readers();
            self.step();
            self.publish();
        }
    }

    /// The next command if there is one, at once if there is other work; `None` when nobody can send any more.
    #[expect(clippy::option_option, reason = "the end, nothing, or a command")]
    fn next(&self, commands: &Receiver<Command>) -> Option<Option<Command>> {
        let is_idle = self.live.is_empty() && self.engine.is_idle();
        if is_idle && self.leaving.is_empty() {
            return commands.recv().ok().map(Some);
        }
        if is_idle || self.did_nothing {
            return match commands.recv_timeout(PATIENCE) {
                Ok(command) => Some(Some(command)),
                Err(RecvTimeoutError::Timeout) => Some(None),
                Err(RecvTimeoutError::Disconnected) => None,
            };
        }
        match commands.try_recv() {
            Ok(command) => Some(Some(command)),
            Err(TryRecvError::Empty) => Some(None),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.submit(*submission),
            Command::Flush(freed) => {
                // Whoever asked may have left.
                let _ = freed.send(self.engine.flush_prefix_cache());
            }
            Command::List(list) => {
                let now = self.now();
                let _ = list.send(self.live.values().map(|live| live.under_way(now)).collect());
            }
            Command::Cancel(name, cancelled) => {
                let theirs = self.live.iter_mut().filter(|(_, live)| live.name == name);
                let mut count = 0;
                for (&id, live) in theirs {
                    live.given_up.get_or_insert(Ending::Cancelled);
                    self.engine.cancel(id);
                    count += 1;
                }
                let _ = cancelled.send(count);
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        let now = self.now();
        let tenant = Arc::clone(&submission.request.tenant);
        let prompt_tokens = submission.request.prompt.len();
        let priority = submission.request.priority;
        let request = TextRequest {
            deadline: Some(submission.submitted + self.limits.request_time),
            ..submission.request
        };
        match self.engine.submit(request, now) {
            Ok(id) => {
                let live = Live {
                    name: submission.name,
                    priority,
                    generated: 0,
                    choice: submission.choice,
                    updates: submission.updates,
                    held: VecDeque::new(),
                    held_since: None,
                    tenant,
                    prompt_tokens,
                    submitted: submission.submitted,
                    started: None,
                    first_token: None,
                    last_token: now,
                    given_up: None,
                };
                self.live.insert(id, live);
            }
            Err(error) => {
                self.ledger.started(prompt_tokens);
                self.ledger.answered(&tenant, now);
                let _ = submission.refused.send(error);
            }
        }
    }

    /// Gives up requests whose readers are gone, do not read, or have waited for too long.
    fn look_after_readers(&mut self) {
        let now = self.now();
        let patience = self.limits.reader_time;
        self.leaving.retain_mut(|(since, live)| {
            live.deliver() && !live.held.is_empty() && now.saturating_sub(*since) < patience
        });
        for (&id, live) in &mut self.live {
            if live.given_up.is_some() {
                continue;
            }
            let is_there = live.deliver() && !live.updates.is_closed();
            if live.held.is_empty() {
                if live.held_since.take().is_some() {
                    self.engine.pause(id, false);
                }
            } else if live.held_since.is_none() {
                live.held_since = Some(now);
                self.engine.pause(id, true);
            }
            let stood = live.held_since.map(|since| now.saturating_sub(since));
            let waited = now.saturating_sub(live.submitted);
            live.given_up = if !is_there {
                Some(Ending::Cancelled)
            } else if stood.is_some_and(|stood| stood > patience) {
                Some(Ending::SlowReader)
            } else if live.started.is_none() && waited > self.limits.queue_time {
                Some(Ending::QueueTimeout)
            } else {
                None
            };
            if live.given_up.is_some() {
                self.engine.cancel(id);
            }
        }
    }

    fn step(&mut self) {
        if self.engine.is_idle() {
            self.did_nothing = false;
            return;
        }
        let (mut events, begin) = (Vec::new(), self.now());
        let engine = &mut self.engine;
        let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(begin, &mut events)));
        let now = self.now();
        let failure = match stepped {
            Ok(Ok(outcome)) => {
                self.metrics.step(outcome, now.saturating_sub(begin));
                self.did_nothing = events.is_empty() && outcome.prefill_tokens == 0;
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the engine panicked".to_owned()),
        };
        for event in events {
            // Places are given before anything is computed.
            let is_start = matches!(event, Event::Started { .. });
            self.tell(event, if is_start { begin } else { now });
        }
        if let Some(failure) = failure {
            self.fail(&failure, now);
        }
    }

    /// Ends everything that was under way: nobody knows whose step it was that failed.
    fn fail(&mut self, failure: &str, now: Duration) {
        let ids: Vec<RequestId> = self.live.keys().copied().collect();
        for id in ids {
            self.engine.cancel(id);
            let finished = (
                Ending::Failed(failure.to_owned()),
                String::new(),
                Usage::default(),
            );
            self.finish(id, finished, now);
        }
    }

    fn tell(&mut self, event: Event, now: Duration) {
        match event {
            Event::Started { request, .. } => {
                let Some(live) = self.live.get_mut(&request) else {
                    return;
                };
                // One that was preempted starts more than once.
                if live.started.is_none() {
                    live.started = Some(now);
                    self.ledger.started(live.prompt_tokens);
                }
            }
            Event::Token {
                request,
                token,
                text,
                logprobs,
            } => {
                let Some(live) = self.live.get_mut(&request) else {
                    return;
                };
                if live.first_token.is_none() {
                    live.first_token = Some(now);
                    self.metrics.first_token(now.saturating_sub(live.submitted));
                } else {
                    self.metrics.token(now.saturating_sub(live.last_token));
                }
                live.last_token = now;
                live.generated += 1;
                live.held.push_back(Update::Token {
                    token,
                    text,
                    logprobs,
                });
                live.deliver();
            }
            Event::Finished {
                request,
                reason,
                text,
                usage,
            } => {
                let ending = match reason {
                    FinishReason::Stop => Ending::Stop,
                    FinishReason::Length => Ending::Length,
                    FinishReason::TimedOut => Ending::Deadline,
                    FinishReason::Failed => {
                        Ending::Failed("the grammar allows no further token".to_owned())
                    }
                    _ => Ending::Cancelled,
                };
                self.finish(request, (ending, text, usage), now);
            }
            _ => (),
        }
    }

    /// Tells the reader the end and forgets the request.
    fn finish(
        &mut self,
        id: RequestId,
        (ending, text, usage): (Ending, String, Usage),
        now: Duration,
    ) {
        // A request that is unknown was told its end before.
        let Some(mut live) = self.live.remove(&id) else {
            return;
        };
        let ending = live.given_up.take().unwrap_or(ending);
        let timings = live.timings(now);
        self.metrics
            .finished(&ending, &usage, timings, now.saturating_sub(live.submitted));
        if live.started.is_none() {
            self.ledger.started(live.prompt_tokens);
        }
        self.ledger.answered(&live.tenant, now);
        let finished = Finished {
            ending,
            text,
            usage,
            timings,
        };
        live.held.push_back(Update::Finished(Box::new(finished)));
        if live.deliver() && !live.held.is_empty() {
            self.leaving.push((now, live));
        }
    }

    fn publish(&mut self) {
        let census = self.engine.census();
        self.metrics.census(&census);
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
    }
}
