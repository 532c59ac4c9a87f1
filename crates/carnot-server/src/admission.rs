//! Who is let in, and who is told to come back and when.
//!
//! What is let in is certain to be answered, so the bounds lie here, before the queue: on requests that wait, on their tokens, on how long they
//! would wait, and on what one tenant has under way. A request counts those of its own priority and above: nobody is refused for those that
//! go behind it. When to come back follows from how fast requests ended lately.

mod capacity;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carnot_engine::MAX_PRIORITY;

use self::capacity::Capacity;
use crate::error::{
    ApiError, ErrorCode, QUEUE_FULL, QUEUE_TOKENS_FULL, QUEUE_WAIT, RATE_LIMIT_EXCEEDED,
    TENANT_LIMIT,
};

/// When somebody who is refused may come back, at the earliest and at the latest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// Bounds of what is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests that wait for a place.
    pub queued_requests: usize,
    /// Prompt tokens of those that wait.
    pub queued_tokens: usize,
    /// How long a request may wait for a place; one that would wait longer is not let in.
    pub queue_time: Duration,
    /// Requests of one tenant that wait or run.
    pub tenant_requests: usize,
    /// Tokens of one tenant in a minute, of prompts and generated; a minute's worth may come at once. `None` for any number.
    pub tenant_tokens_per_minute: Option<u64>,
    /// How long a request may take in all.
    pub request_time: Duration,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How long a sequence may stand still because its reader does not read.
    pub reader_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_requests: 256,
            queued_tokens: 262_144,
            queue_time: Duration::from_mins(1),
            tenant_requests: 256,
            tenant_tokens_per_minute: None,
            request_time: Duration::from_mins(10),
            body_bytes: 4 << 20,
            reader_time: Duration::from_secs(30),
        }
    }
}

/// Those who are refused are told to come back in up to this much longer than it takes, each in another part of it, so that they do not
/// come all together.
const SPREAD: f64 = 0.25;
/// Its multiples fall evenly between whole numbers.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// What is under way at one engine.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Books>);

/// Counts that add up: what was accepted is answered or under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub accepted: u64,
    pub answered: u64,
    /// Accepted requests that have no place yet, by priority.
    waiting: [Waiting; PRIORITIES],
    /// Requests under way, by tenant.
    tenants: HashMap<Arc<str>, usize>,
    /// What tenants may still use, where that is limited.
    buckets: HashMap<Arc<str>, Bucket>,
    /// Requests that were not let in.
    refused: u64,
    capacity: Capacity,
}

const PRIORITIES: usize = MAX_PRIORITY as usize + 1;

/// Requests, and the tokens of their prompts.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    requests: usize,
    tokens: usize,
}

/// What somebody wants to be let in for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub requests: usize,
    /// Of all their prompts.
    pub tokens: usize,
    pub priority: u8,
}

impl Books {
    /// Those that go before a new request of a priority.
    fn ahead_of(&self, priority: u8) -> Waiting {
        let before = &self.waiting[usize::from(priority.min(MAX_PRIORITY))..];
        Waiting {
            requests: before.iter().map(|waiting| waiting.requests).sum(),
            tokens: before.iter().map(|waiting| waiting.tokens).sum(),
        }
    }

    /// Tells the estimate of the engine's speed what has changed.
    fn observe(&mut self, now: Duration, answers: usize) {
        let is_waited_for = self.ahead_of(0).requests > 0;
        self.capacity.observe(now, answers, is_waited_for);
    }

    /// Requests that wait or run.
    pub fn in_flight(&self) -> usize {
        self.tenants.values().sum()
    }

    /// What must be 0: requests that are neither answered nor under way.
    pub fn lost(&self) -> i64 {
        self.accepted as i64 - self.answered as i64 - self.in_flight() as i64
    }
}

impl Ledger {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        // Each change is a few additions, which do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is asked, or says why not.
    pub fn admit(
        &self,
        limits: &Limits,
        tenant: &Arc<str>,
        ask: Ask,
        now: Duration,
    ) -> Result<(), ApiError> {
        let Ask {
            requests,
            tokens,
            priority,
        } = ask;
        let mut books = self.books();
        let theirs = books.tenants.get(tenant).copied().unwrap_or(0);
        let Waiting {
            requests: queued,
            tokens: queued_tokens,
        } = books.ahead_of(priority);
        let after = books.capacity.seconds_for(queued + requests, now);
        let after = after.unwrap_or_default();
        let mut refuse = |code: &'static ErrorCode, what: &str, have: usize, most: usize| {
            let message = format!("{have} {what}, at most {most} may");
            Err(books.refusal(code, message, after))
        };
        if theirs + requests > limits.tenant_requests {
            let what = "requests of this key are under way";
            return refuse(&TENANT_LIMIT, what, theirs, limits.tenant_requests);
        }
        if queued + requests > limits.queued_requests {
            return refuse(&QUEUE_FULL, "requests wait", queued, limits.queued_requests);
        }
        // One prompt may be larger than the bound if nothing else waits.
        if queued > 0 && queued_tokens + tokens > limits.queued_tokens {
            let (what, most) = ("prompt tokens wait", limits.queued_tokens);
            return refuse(&QUEUE_TOKENS_FULL, what, queued_tokens, most);
        }
        let wait = books.capacity.known_seconds_for(queued, now);
        let most = limits.queue_time.as_secs_f64();
        if let Some(wait) = wait.filter(|&wait| wait > most) {
            let message =
                format!("it would wait for a place for {wait:.1} s, at most {most} s may it");
            return Err(books.refusal(&QUEUE_WAIT, message, wait - most));
        }
        if let Some(wait) = books.draw(limits, tenant, tokens, now) {
            books.refused += 1;
            let most = limits.tenant_tokens_per_minute.unwrap_or_default();
            let message = format!("this key has used its {most} tokens a minute");
            return Err(ApiError {
                retry_after: Some(wait.max(SHORTEST)),
                ..ApiError::new(&RATE_LIMIT_EXCEEDED, message)
            });
        }
        books.accepted += requests as u64;
        let waiting = &mut books.waiting[usize::from(priority.min(MAX_PRIORITY))];
        waiting.requests += requests;
        waiting.tokens += tokens;
        books.observe(now, 0);
        *books.tenants.entry(Arc::clone(tenant)).or_default() += requests;
        Ok(())
    }

    /// A request with a prompt of `tokens` tokens waits no more.
    pub fn started(&self, priority: u8, tokens: usize, now: Duration) {
        let mut books = self.books();
        let waiting = &mut books.waiting[usize::from(priority.min(MAX_PRIORITY))];
        waiting.requests -= 1;
        waiting.tokens -= tokens;
        books.observe(now, 0);
    }

    /// A request is answered with `generated` tokens.
    pub fn answered(&self, tenant: &Arc<str>, generated: usize, now: Duration) {
        let mut books = self.books();
        if let Some(bucket) = books.buckets.get_mut(tenant) {
            bucket.level -= generated as f64;
        }
        books.answered += 1;
        books.observe(now, 1);
        if let Some(theirs) = books.tenants.get_mut(tenant) {
            *theirs -= 1;
            if *theirs == 0 {
                books.tenants.remove(tenant);
            }
        }
    }
}

/// Tokens that a tenant may still use. Below 0 are debts: what is generated is known only when it is.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Duration,
}

impl Books {
    /// What somebody is told who may come back after so many seconds.
    fn refusal(&mut self, code: &'static ErrorCode, message: String, after: f64) -> ApiError {
        let spread = 1.0 + SPREAD * (self.refused as f64 * GOLDEN).fract();
        self.refused += 1;
        let after = Duration::from_secs_f64(after.clamp(0.0, LONGEST.as_secs_f64()));
        ApiError {
            retry_after: Some(after.max(SHORTEST).mul_f64(spread)),
            ..ApiError::new(code, message)
        }
    }

    /// Takes `tokens` out of the tenant's bucket, or says how long it takes until they are there.
    fn draw(
        &mut self,
        limits: &Limits,
        tenant: &Arc<str>,
        tokens: usize,
        now: Duration,
    ) -> Option<Duration> {
        let full = limits.tenant_tokens_per_minute?.max(1) as f64;
        let a_second = full / 60.0;
        let bucket = self.buckets.entry(Arc::clone(tenant));
        let bucket = bucket.or_insert(Bucket {
            level: full,
            at: now,
        });
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        *bucket = Bucket {
            level: (bucket.level + passed * a_second).min(full),
            at: now,
        };
        // What is more than a bucket holds takes a full one.
        let wanted = (tokens as f64).min(full);
        if bucket.level < wanted {
            return Some(Duration::from_secs_f64((wanted - bucket.level) / a_second));
        }
        bucket.level -= tokens as f64;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            queued_requests: 3,
            queued_tokens: 100,
            tenant_requests: 4,
            ..Limits::default()
        }
    }

    fn ask(requests: usize, tokens: usize) -> Ask {
        Ask {
            requests,
            tokens,
            priority: 5,
        }
    }

    #[test]
    fn each_bound_has_its_code() {
        let (ledger, limits) = (Ledger::default(), limits());
        let code = |tenant: &str, ask| {
            let admitted = ledger.admit(&limits, &tenant.into(), ask, Duration::ZERO);
            admitted.err().map(|error| error.code.code)
        };
        assert_eq!(code("a", ask(1, 500)), None, "alone, a prompt may be long");
        assert_eq!(code("a", ask(1, 1)), Some("queue_tokens_full"));
        ledger.started(5, 500, Duration::ZERO);
        assert_eq!(code("a", ask(3, 60)), None);
        assert_eq!(code("b", ask(1, 1)), Some("queue_full"));
        assert_eq!(code("a", ask(1, 1)), Some("tenant_limit"));
        let urgent = Ask {
            priority: 6,
            ..ask(1, 90)
        };
        assert_eq!(code("b", urgent), None, "nobody goes before it");
        let books = ledger.books().clone();
        assert_eq!((books.accepted, books.in_flight(), books.lost()), (5, 5, 0));
    }

    /// Two answers a second for a minute and a half, while one always waits.
    fn busy(ledger: &Ledger, limits: &Limits) -> Duration {
        let tenant: Arc<str> = "a".into();
        let mut now = Duration::ZERO;
        ledger.admit(limits, &tenant, ask(1, 1), now).unwrap();
        for _ in 0..180 {
            now += Duration::from_millis(500);
            ledger.admit(limits, &tenant, ask(1, 1), now).unwrap();
            ledger.started(5, 1, now);
            ledger.answered(&tenant, 1, now);
        }
        now
    }

    #[test]
    fn when_to_come_back_follows_from_the_rate() {
        let (ledger, limits) = (Ledger::default(), limits());
        let now = busy(&ledger, &limits);
        ledger.admit(&limits, &"a".into(), ask(2, 2), now).unwrap();
        let after = |now| {
            let refused = ledger.admit(&limits, &"b".into(), ask(5, 1), now);
            refused.unwrap_err().retry_after.unwrap().as_secs_f64()
        };
        let (first, second) = (after(now), after(now));
        assert!((3.9..4.4).contains(&first), "8 at 2 a second: {first}");
        assert!((first..1.25 * first).contains(&second), "{first} {second}");
        assert!(second > first, "they do not come back together");
        let later = now + Duration::from_hours(1);
        let longest = LONGEST.as_secs_f64();
        assert!(
            (longest..1.25 * longest).contains(&after(later)),
            "nothing ends any more"
        );
    }

    #[test]
    fn who_would_wait_too_long_is_not_let_in() {
        let limits = Limits {
            queue_time: Duration::from_secs(3),
            ..Limits::default()
        };
        let ledger = Ledger::default();
        let now = busy(&ledger, &limits);
        let admit = |priority| {
            let ask = Ask {
                priority,
                ..ask(1, 1)
            };
            ledger.admit(&limits, &"b".into(), ask, now)
        };
        // With the one of before there are seven then, three and a half seconds of work.
        (0..6).for_each(|_| admit(5).unwrap());
        let refused = admit(5).unwrap_err();
        assert_eq!(refused.code.code, "queue_wait");
        assert_eq!(
            refused.message,
            "it would wait for a place for 3.5 s, at most 3 s may it"
        );
        assert_eq!(
            refused.retry_after.unwrap().as_secs(),
            1,
            "a half, at least one"
        );
        admit(10).unwrap();
    }

    #[test]
    fn tokens_a_minute_come_back_second_by_second() {
        let limits = Limits {
            tenant_tokens_per_minute: Some(600),
            ..Limits::default()
        };
        let (ledger, tenant) = (Ledger::default(), Arc::<str>::from("a"));
        let admit = |tenant: &Arc<str>, tokens, seconds| {
            let admitted = ledger.admit(
                &limits,
                tenant,
                ask(1, tokens),
                Duration::from_secs(seconds),
            );
            admitted.map_err(|error| (error.code.code, error.retry_after.unwrap().as_secs()))
        };
        assert_eq!(admit(&tenant, 500, 0), Ok(()));
        ledger.answered(&tenant, 200, Duration::ZERO);
        let refused = Err(("rate_limit_exceeded", 15));
        assert_eq!(admit(&tenant, 50, 0), refused, "100 in debt, 10 a second");
        assert_eq!(admit(&"b".into(), 50, 0), Ok(()), "another has its own");
        assert_eq!(admit(&tenant, 50, 15), Ok(()));
        assert_eq!(
            admit(&tenant, 5_000, 120),
            Ok(()),
            "a full bucket is enough for anything"
        );
        assert!(admit(&tenant, 1, 400).is_err(), "and is paid back");
    }
}
