//! Threads, each of which owns an engine, and the handle by which requests reach them.
//!
//! A request that was admitted is answered exactly once, whatever happens: by its results, by an error, or, where its client has left, by nobody, in which case
//! its place in the queue is free at once. A run of several requests that fails is done again one by one, so that a bad request fails alone. A
//! panic of an engine is an error of the requests that it ran.

#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use carnot_cache::Origin;
use carnot_engine::{EngineError, Tensor, TensorEngine, TensorModelInfo};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cost::Costs;
use super::queue::{Next, Queue, Waiting};
use super::rows;
use super::statistics::{Parts, Statistics};
use super::{Batching, TimeoutAction};
use crate::admission::{Ask, Ledger, Limits};
use crate::error::{ApiError, DRAINING, ENGINE_FAILED, QUEUE_FULL, QUEUE_TIMEOUT, REQUEST_TIMEOUT};
use crate::metrics::TensorMetrics;

/// What somebody asks of a model.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted, in this order; all where none are named.
    pub outputs: Option<Vec<String>>,
    pub tenant: Arc<str>,
    /// 10 goes first.
    pub priority: u8,
    /// How long it may wait for its run, where it says so.
    pub timeout: Option<Duration>,
}

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub outputs: Vec<Tensor>,
    /// From submission to its run.
    pub queue: Duration,
    /// Of the run, all requests in it together.
    pub run: Duration,
    /// Rows of that run.
    pub batch_rows: usize,
    /// Where it was kept, if it was not computed for this request.
    pub origin: Option<Origin>,
}

impl Answer {
    /// One that was not computed for this request.
    pub fn kept(outputs: Vec<Tensor>, origin: Origin) -> Self {
        Self {
            outputs,
            queue: Duration::ZERO,
            run: Duration::ZERO,
            batch_rows: 0,
            origin: Some(origin),
        }
    }
}

/// A model at work, seen from the outside.
pub(crate) struct ModelHandle {
    shared: Arc<Shared>,
    on_timeout: TimeoutAction,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a model and those who ask it share.
struct Shared {
    info: TensorModelInfo,
    ledger: Arc<Ledger>,
    metrics: TensorMetrics,
    state: Mutex<State>,
    changed: Condvar,
    begin: Instant,
}

struct State {
    queue: Queue<Job>,
    costs: Costs,
    statistics: Statistics,
    /// The number of the next request.
    next: u64,
    /// No more requests are taken; what waits is done.
    is_closing: bool,
}

/// What is kept of a request until it is answered.
struct Job {
    inputs: Vec<Tensor>,
    outputs: Option<Vec<String>>,
    answer: oneshot::Sender<Result<Answer, ApiError>>,
    /// Whether the deadline is of its own.
    has_timeout: bool,
    admitted: Admitted,
}

/// A place in the books. However the request ends, what was counted when it came is counted back.
struct Admitted {
    shared: Arc<Shared>,
    tenant: Arc<str>,
    priority: u8,
    submitted: Duration,
    has_started: bool,
    ending: &'static str,
}

impl Admitted {
    fn started(&mut self) {
        if !self.has_started {
            self.has_started = true;
            let (ledger, now) = (&self.shared.ledger, self.shared.now());
            ledger.started(self.priority, 0, now);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.started();
        let now = self.shared.now();
        self.shared.ledger.answered(&self.tenant, 0, now);
        let took = now.saturating_sub(self.submitted);
        self.shared.metrics.finished(self.ending, took);
    }
}

impl ModelHandle {
    /// Starts a thread for the engine and for each of its duplicates; at most `most` requests wait.
    ///
    /// # Errors
    /// Where the engine makes no duplicate, or the system no thread.
    pub fn start(
        engine: Box<dyn TensorEngine>,
        batching: Batching,
        most: usize,
        metrics: TensorMetrics,
    ) -> io::Result<Self> {
        let info = engine.model().clone();
        let mut policy = batching;
        if !info.is_batchable {
            policy.max_rows = 1;
        }
        let mut engines = vec![engine];
        for _ in 1..policy.instances.max(1) {
            let duplicate = engines[0].duplicate().map_err(io::Error::other)?;
            engines.push(duplicate);
        }
        let (max_rows, on_timeout) = (policy.max_rows.max(1), policy.on_timeout);
        let shared = Arc::new(Shared {
            info,
            ledger: Arc::default(),
            metrics,
            state: Mutex::new(State {
                queue: Queue::new(policy, most),
                costs: Costs::default(),
                statistics: Statistics::default(),
                next: 0,
                is_closing: false,
            }),
            changed: Condvar::new(),
            begin: Instant::now(),
        });
        let handle = Self {
            shared,
            on_timeout,
            threads: Mutex::default(),
        };
        for engine in engines {
            let shared = Arc::clone(&handle.shared);
            let mut runner = Runner {
                shared,
                engine,
                max_rows,
            };
            let name = format!("model {}", handle.shared.info.name);
            let thread = thread::Builder::new().name(name);
            let thread = thread.spawn(move || runner.work())?;
            handle.threads().push(thread);
        }
        Ok(handle)
    }

    /// What it runs.
    pub fn info(&self) -> &TensorModelInfo {
        &self.shared.info
    }

    /// Who is under way.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// What became of its requests.
    pub fn statistics(&self) -> Statistics {
        self.shared.state().statistics.clone()
    }

    /// Requests that wait for a run.
    pub fn waiting(&self) -> usize {
        self.shared.state().queue.len()
    }

    /// Since it was loaded.
    pub fn age(&self) -> Duration {
        self.shared.now()
    }

    /// A result was looked for among those that are kept, which took so long.
    pub fn looked_up(&self, origin: Origin, took: Duration) {
        let mut state = self.shared.state();
        let statistics = &mut state.statistics;
        let count = match origin {
            Origin::Computed => &mut statistics.cache_miss,
            _ => &mut statistics.cache_hit,
        };
        count.add(took);
        drop(state);
        self.shared.metrics.looked_up(origin.name());
    }

    /// Lets a request in, waits for its run, and gives its results. Who stops waiting gives the request up.
    ///
    /// # Errors
    /// Where the model does not take the inputs, where the request is not let in, where it waits for too long, and where the engine fails.
    pub async fn infer(&self, limits: &Limits, request: Request) -> Result<Answer, ApiError> {
        let Submitted {
            id,
            wait,
            mut answer,
        } = self.submit(limits, request)?;
        let given_up = GivenUp {
            shared: &self.shared,
            id,
        };
        let answer = match self.on_timeout {
            TimeoutAction::Delay => answer.await,
            // Told in time, also while all engines are busy.
            TimeoutAction::Reject => {
                if let Ok(answer) = timeout(wait, &mut answer).await {
                    answer
                } else {
                    self.shared.cancel(id).into_iter().for_each(timed_out);
                    answer.await
                }
            }
        };
        drop(given_up);
        answer.unwrap_or_else(|_| {
            let message = format!("{} was unloaded", self.shared.info.name);
            Err(ApiError::new(&ENGINE_FAILED, message))
        })
    }

    fn submit(&self, limits: &Limits, request: Request) -> Result<Submitted, ApiError> {
        let Request {
            inputs,
            outputs,
            tenant,
            priority,
            timeout: own,
        } = request;
        let shared = &self.shared;
        let ordered = rows::ordered(&shared.info, inputs, outputs.clone())?;
        let now = shared.now();
        let ask = Ask {
            requests: 1,
            tokens: 0,
            priority,
        };
        shared.ledger.admit(limits, &tenant, ask, now)?;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            inputs: ordered.inputs,
            outputs,
            answer,
            has_timeout: own.is_some_and(|own| own < limits.queue_time),
            admitted: Admitted {
                shared: Arc::clone(shared),
                tenant: Arc::clone(&tenant),
                priority,
                submitted: now,
                has_started: false,
                ending: "cancelled",
            },
        };
        let wait = own.map_or(limits.queue_time, |own| own.min(limits.queue_time));
        let mut state = shared.state();
        if state.is_closing {
            drop(state);
            let message = format!("{} is being unloaded", shared.info.name);
            return Err(ApiError::new(&DRAINING, message));
        }
        let id = state.next;
        state.next += 1;
        state.statistics.last = Some(SystemTime::now());
        let pushed = state.queue.push(Waiting {
            id,
            group: ordered.group,
            rows: ordered.rows,
            priority,
            tenant,
            arrived: now,
            deadline: Some(now.saturating_add(wait)),
            payload: job,
        });
        shared.metrics.waiting(state.queue.len());
        // Dropping a request takes no lock of the queue's, but need not be done under it.
        drop(state);
        if pushed.is_err() {
            let message = format!("as many requests of {} wait as may", shared.info.name);
            return Err(ApiError::new(&QUEUE_FULL, message));
        }
        shared.changed.notify_one();
        Ok(Submitted {
            id,
            wait,
            answer: answered,
        })
    }

    /// Takes no more requests, does those that wait, and returns when the threads have ended.
    pub fn close(&self) {
        self.shared.state().is_closing = true;
        self.shared.changed.notify_all();
        let threads: Vec<JoinHandle<()>> = self.threads().drain(..).collect();
        for thread in threads {
            // A thread that panicked has ended too; the panic was logged.
            let _ = thread.join();
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads end when nobody can ask them any more.
impl Drop for ModelHandle {
    fn drop(&mut self) {
        self.shared.state().is_closing = true;
        self.shared.changed.notify_all();
    }
}

struct Submitted {
    id: u64,
    /// How long it may wait.
    wait: Duration,
    answer: oneshot::Receiver<Result<Answer, ApiError>>,
}

/// Takes a request out of the queue that nobody waits for any more.
struct GivenUp<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        drop(self.shared.cancel(self.id));
    }
}

impl Shared {
    /// The time of the model's clock.
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What changes under the lock are tables, whose methods do not panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request out that still waits.
    fn cancel(&self, id: u64) -> Option<Waiting<Job>> {
        let mut state = self.state();
        let cancelled = state.queue.cancel(id)?;
        self.metrics.waiting(state.queue.len());
        Some(cancelled)
    }

    /// Waits for the next run; none where there will be no more.
    fn next(&self) -> Option<Vec<Waiting<Job>>> {
        let mut state = self.state();
        loop {
            let now = self.now();
            let expired = state.queue.expire(now);
            if !expired.is_empty() {
                // Answers are given without the lock.
                drop(state);
                expired.into_iter().for_each(timed_out);
                state = self.state();
                continue;
            }
            let State { queue, costs, .. } = &mut *state;
            let next = queue.next(now, costs);
            self.metrics.waiting(state.queue.len());
            match next {
                Next::Run(batch) => return Some(batch),
                Next::Wait(_) if state.is_closing && state.queue.len() == 0 => return None,
                Next::Wait(None) => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(Some(until)) => {
                    let time = until.saturating_sub(now);
                    let waited = self.changed.wait_timeout(state, time);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

fn timed_out(waiting: Waiting<Job>) {
    let Waiting {
        arrived,
        deadline,
        payload: mut job,
        ..
    } = waiting;
    let waited = deadline.unwrap_or(arrived).saturating_sub(arrived);
    let (code, of, ending) = if job.has_timeout {
        (&REQUEST_TIMEOUT, "its `timeout`", "timeout")
    } else {
        (&QUEUE_TIMEOUT, "the longest that one may", "queue_timeout")
    };
    job.admitted.ending = ending;
    let message = format!("the request waited for a run for {waited:?}, {of}");
    job.finish(Err(ApiError::new(code, message)));
}

impl Job {
    fn finish(self, answer: Result<Answer, ApiError>) {
        let Self {
            answer: sender,
            admitted,
            ..
        } = self;
        // The books are closed first, so that who has its answer is no more under way.
        drop(admitted);
        // Nobody waits for it where its client has left.
        let _ = sender.send(answer);
    }
}

/// A thread's own.
struct Runner {
    shared: Arc<Shared>,
    engine: Box<dyn TensorEngine>,
    max_rows: usize,
}

impl Runner {
    fn work(&mut self) {
        while let Some(batch) = self.shared.next() {
            self.run(batch);
            self.shared.state().queue.ran();
            self.shared.changed.notify_one();
        }
    }

    /// Runs requests together, or one by one where that fails.
    fn run(&mut self, mut batch: Vec<Waiting<Job>>) {
        batch.retain(|waiting| !waiting.payload.answer.is_closed());
        let now = self.shared.now();
        for waiting in &mut batch {
            waiting.payload.admitted.started();
        }
        match self.attempt(&batch) {
            Ok(ran) => self.answer(batch, ran, now),
            Err(error) if batch.len() == 1 => self.fail(batch, &error, now),
            Err(error) => {
                let model = &*self.shared.info.name;
                tracing::warn!(model, requests = batch.len(), %error, "a run failed; its requests run one by one");
                self.shared.metrics.retried();
                for waiting in batch {
                    let one = vec![waiting];
                    match self.attempt(&one) {
                        Ok(ran) => self.answer(one, ran, now),
                        Err(error) => self.fail(one, &error, now),
                    }
                }
            }
        }
    }

    /// Joins, runs and splits.
    fn attempt(&mut self, batch: &[Waiting<Job>]) -> Result<Ran, EngineError> {
        let begin = Instant::now();
        let inputs: Vec<&[Tensor]> = batch.iter().map(|one| &*one.payload.inputs).collect();
        let Some(first) = batch.first() else {
            return Ok(Ran::default());
        };
        let inputs = rows::joined(&inputs)?;
        let join = begin.elapsed();
        let outputs = self.guarded(&inputs, first.payload.outputs.as_deref())?;
        let run = begin.elapsed().saturating_sub(join);
        let outputs = if batch.len() == 1 {
            vec![outputs]
        } else {
            let rows: Vec<usize> = batch.iter().map(|one| one.rows).collect();
            rows::split(&outputs, &rows)?
        };
        let split = begin.elapsed().saturating_sub(join + run);
        Ok(Ran {
            outputs,
            parts: Parts { join, run, split },
        })
    }

    /// A run whose panic is an error.
    fn guarded(
        &mut self,
        inputs: &[Tensor],
        outputs: Option<&[String]>,
    ) -> Result<Vec<Tensor>, EngineError> {
        let engine = &mut self.engine;
        let ran = catch_unwind(AssertUnwindSafe(|| engine.run(inputs, outputs)));
        ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("for no reason given");
            // What it left behind is unknown: a fresh one takes over, if one can be had.
            let fresh = catch_unwind(AssertUnwindSafe(|| self.engine.duplicate()));
            if let Ok(Ok(fresh)) = fresh {
                self.engine = fresh;
            }
            Err(EngineError::Engine(
                format!("the engine panicked: {text}").into(),
            ))
        })
    }

    fn answer(&self, batch: Vec<Waiting<Job>>, ran: Ran, now: Duration) {
        if batch.is_empty() {
            return;
        }
        let Ran { outputs, parts } = ran;
        let rows: usize = batch.iter().map(|one| one.rows).sum();
        let end = self.shared.now();
        let mut state = self.shared.state();
        if rows <= self.max_rows {
            let took = parts.join + parts.run + parts.split;
            state.costs.observe(rows, took);
        }
        let sizes = (rows, self.max_rows);
        state.statistics.ran(sizes, batch.len(), parts);
        for waiting in &batch {
            state
                .statistics
                .queue
                .add(now.saturating_sub(waiting.arrived));
            state
                .statistics
                .success
                .add(end.saturating_sub(waiting.arrived));
        }
        drop(state);
        self.shared.metrics.ran(rows, self.max_rows, parts.run);
        for (waiting, outputs) in batch.into_iter().zip(outputs) {
            let mut job = waiting.payload;
            let queue = now.saturating_sub(waiting.arrived);
            self.shared.metrics.queued(queue);
            job.admitted.ending = "ok";
            job.finish(Ok(Answer {
                outputs,
                queue,
                run: parts.run,
                batch_rows: rows,
                origin: None,
            }));
        }
    }

    fn fail(&self, batch: Vec<Waiting<Job>>, error: &EngineError, now: Duration) {
        let end = self.shared.now();
        for waiting in batch {
            let mut job = waiting.payload;
            let queue = now.saturating_sub(waiting.arrived);
            let mut state = self.shared.state();
            state.statistics.queue.add(queue);
            state
                .statistics
                .fail
                .add(end.saturating_sub(waiting.arrived));
            drop(state);
            self.shared.metrics.queued(queue);
            job.admitted.ending = "failed";
            job.finish(Err(ApiError::new(&ENGINE_FAILED, error.to_string())));
        }
    }
}

/// What came of a run.
#[derive(Default)]
struct Ran {
    /// Of each request.
    outputs: Vec<Vec<Tensor>>,
    parts: Parts,
}
