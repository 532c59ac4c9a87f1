//! What the engine's thread does, turn after turn.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use carnot_engine::{Census, Event, FinishReason, RequestId, TextEngine, TextRequest, Usage};
use tokio::sync::mpsc;

use super::{Command, Ending, Finished, Progress, Submission, Timings, UnderWay, Update, Updates};
use crate::admission::Ledger;
use crate::metrics::{Activity, EngineMetrics};
use crate::settings::SharedSettings;
use crate::traces::{Answered, Origin, Traces};

/// How long the thread waits for a command while sequences are paused.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long it waits while there is nothing at all: what it says of its idle time is no older.
const IDLE: Duration = Duration::from_secs(1);

/// A request that the engine has.
struct Live {
    name: Arc<str>,
    priority: u8,
    generated: usize,
    /// The sum over its tokens of the sequences that got one in the same step.
    batches: usize,
    /// Tokens of its prompt that did not have to be computed.
    cached: usize,
    choice: usize,
    updates: Updates,
    /// Updates that its reader had no room for.
    held: VecDeque<Update>,
    held_since: Option<Duration>,
    tenant: Arc<str>,
    prompt_tokens: usize,
    submitted: Duration,
    /// Where a trace of it is wanted.
    origin: Option<Origin>,
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

    /// Tells the reader how far the prompt is. What it has no room for it does not get: the next one says more.
    fn progress(&mut self, processed: usize, now: Duration) {
        if self.held.is_empty() {
            let progress = Progress {
                total: self.prompt_tokens,
                cached: self.cached,
                processed,
                took: now.saturating_sub(self.started.unwrap_or(now)),
            };
            // Whether it has room, and is there at all, shows with its next token.
            let _ = self
                .updates
                .try_send((self.choice, Update::Progress(progress)));
        }
    }

    fn log(&self, ending: &Ending, usage: &Usage, timings: Timings) {
        tracing::info!(
            id = &*self.name,
            choice = self.choice,
            tenant = &*self.tenant,
            priority = self.priority,
            ending = ending.name(),
            prompt_tokens = usage.prompt_tokens,
            cached_tokens = usage.cached_tokens,
            generated_tokens = usage.generated_tokens,
            queue_ms = milliseconds(timings.queue),
            prefill_ms = milliseconds(timings.prefill),
            decode_ms = milliseconds(timings.decode),
            "answered"
        );
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
pub(super) struct Turns {
    engine: Box<dyn TextEngine + Send>,
    settings: SharedSettings,
    live: HashMap<RequestId, Live>,
    /// Requests that have ended, and whose readers have not read everything; with the time of their end.
    leaving: Vec<(Duration, Live)>,
    ledger: Arc<Ledger>,
    census: Arc<Mutex<Census>>,
    metrics: EngineMetrics,
    traces: Traces,
    begin: Instant,
    /// Whether the last step had nothing that it could do.
    did_nothing: bool,
    /// Until when the thread's time is accounted for.
    accounted: Duration,
}

impl Turns {
    pub fn new(
        engine: Box<dyn TextEngine + Send>,
        settings: SharedSettings,
        (ledger, census): (Arc<Ledger>, Arc<Mutex<Census>>),
        (metrics, traces): (EngineMetrics, Traces),
        begin: Instant,
    ) -> Self {
        Self {
            engine,
            settings,
            live: HashMap::new(),
            leaving: Vec::new(),
            ledger,
            census,
            metrics,
            traces,
            begin,
            did_nothing: false,
            accounted: begin.elapsed(),
        }
    }

    pub fn run(mut self, commands: &Receiver<Command>) {
        while let Some(mut command) = self.next(commands) {
            let idle = if self.live.is_empty() {
                Activity::Idle
            } else {
                Activity::Paused
            };
            self.account(idle);
            while let Some(this) = command {
                self.execute(this);
                command = commands.try_recv().ok();
            }
            self.look_after_readers();
            self.account(Activity::Transport);
            self.step();
            self.publish();
            self.account(Activity::Transport);
        }
    }

    /// The time since the last call went into `activity`.
    fn account(&mut self, activity: Activity) {
        let now = self.now();
        let took = now.saturating_sub(self.accounted);
        self.metrics.activity(activity, took);
        self.accounted = now;
    }

    /// The next command if there is one, at once if there is other work; `None` when nobody can send any more.
    #[expect(clippy::option_option, reason = "the end, nothing, or a command")]
    fn next(&self, commands: &Receiver<Command>) -> Option<Option<Command>> {
        let is_idle = self.live.is_empty() && self.engine.is_idle();
        if is_idle || self.did_nothing {
            let has_nothing = is_idle && self.leaving.is_empty();
            let patience = if has_nothing { IDLE } else { PATIENCE };
            return match commands.recv_timeout(patience) {
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
        let latest = submission.submitted + self.settings.get().limits.request_time;
        let own = submission.request.deadline;
        let request = TextRequest {
            deadline: Some(own.map_or(latest, |own| own.min(latest))),
            ..submission.request
        };
        match self.engine.submit(request, now) {
            Ok(id) => {
                let live = Live {
                    name: submission.name,
                    priority,
                    generated: 0,
                    batches: 0,
                    cached: 0,
                    choice: submission.choice,
                    updates: submission.updates,
                    held: VecDeque::new(),
                    held_since: None,
                    tenant,
                    prompt_tokens,
                    submitted: submission.submitted,
                    origin: submission.origin.filter(|_| self.traces.are_wanted()),
                    started: None,
                    first_token: None,
                    last_token: now,
                    given_up: None,
                };
                self.live.insert(id, live);
            }
            Err(error) => {
                self.ledger.started(priority, prompt_tokens, now);
                self.ledger.answered(&tenant, 0, now);
                let _ = submission.refused.send(error);
            }
        }
    }

    /// Gives up requests whose readers are gone, do not read, or have waited for too long.
    fn look_after_readers(&mut self) {
        let now = self.now();
        let settings = self.settings.get();
        let patience = settings.limits.reader_time;
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
            } else if live.started.is_none() && waited > settings.limits.queue_time {
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
        let activity = if self.did_nothing {
            Activity::Paused
        } else {
            Activity::Step
        };
        self.account(activity);
        let batch = sequences(&events);
        for event in events {
            // Places are given before anything is computed.
            let is_start = matches!(event, Event::Started { .. });
            self.tell(event, batch, if is_start { begin } else { now });
        }
        if let Some(failure) = failure {
            self.fail(&failure, now);
        }
    }

    /// Ends everything that was under way: nobody knows whose step it was that failed.
    fn fail(&mut self, failure: &str, now: Duration) {
        tracing::error!(failure, requests = self.live.len(), "the engine failed");
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

    /// Passes an event of a step with tokens of `batch` sequences on.
    fn tell(&mut self, event: Event, batch: usize, now: Duration) {
        match event {
            Event::Started {
                request,
                cached_tokens,
            } => {
                let Some(live) = self.live.get_mut(&request) else {
                    return;
                };
                // One that was preempted starts more than once.
                if live.started.is_none() {
                    live.started = Some(now);
                    live.cached = cached_tokens;
                    self.ledger.started(live.priority, live.prompt_tokens, now);
                    live.progress(cached_tokens, now);
                }
            }
            Event::Prefilling { request, tokens } | Event::Prefilled { request, tokens } => {
                if let Some(live) = self.live.get_mut(&request) {
                    live.progress(tokens, now);
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
                live.batches += batch;
                live.held.push_back(Update::Token {
                    token,
                    text,
                    logprobs,
                });
                live.deliver();
            }
            Event::Embedding { request, values } => {
                if let Some(live) = self.live.get_mut(&request) {
                    live.first_token.get_or_insert(now);
                    live.last_token = now;
                    live.held.push_back(Update::Embedding(values));
                    live.deliver();
                }
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
                    FinishReason::OutOfGrammar => {
                        Ending::Failed("the grammar allows no further token".to_owned())
                    }
                    FinishReason::Panicked => {
                        Ending::Failed("the engine panicked over this request".to_owned())
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
        live.log(&ending, &usage, timings);
        self.metrics
            .finished(&ending, &usage, timings, now.saturating_sub(live.submitted));
        if let Some(origin) = live.origin.take() {
            self.traces.answered(Answered {
                origin,
                model: self.engine.model().name.clone(),
                id: Arc::clone(&live.name),
                tenant: Arc::clone(&live.tenant),
                priority: live.priority,
                usage,
                ending: ending.clone(),
                timings,
                took: now.saturating_sub(live.submitted),
                ended: SystemTime::now(),
            });
        }
        if live.started.is_none() {
            self.ledger.started(live.priority, live.prompt_tokens, now);
        }
        self.ledger
            .answered(&live.tenant, usage.generated_tokens, now);
        let finished = Finished {
            ending,
            text,
            usage,
            timings,
            batch: live.batches as f64 / live.generated.max(1) as f64,
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

fn milliseconds(duration: Duration) -> f64 {
    1e3 * duration.as_secs_f64()
}

/// Sequences that got a token; those of one follow each other.
fn sequences(events: &[Event]) -> usize {
    let mut last = None;
    let tokens = events.iter().filter_map(|event| match event {
        Event::Token { request, .. } => Some(*request),
        _ => None,
    });
    tokens
        .filter(|request| last.replace(*request) != Some(*request))
        .count()
}
