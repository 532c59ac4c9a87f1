//! Who is let in, and who is told to come back and when.
//!
//! What is let in is certain to be answered, so the bounds lie here, before the queue: on requests that wait, on their tokens, and on what one
//! tenant has under way. When to come back follows from how fast requests ended lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{
    ApiError, ErrorCode, QUEUE_FULL, QUEUE_TOKENS_FULL, RATE_LIMIT_EXCEEDED, TENANT_LIMIT,
};

/// Bounds of what is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests that wait for a place.
    pub queued_requests: usize,
    /// Prompt tokens of those that wait.
    pub queued_tokens: usize,
    /// How long a request may wait for a place.
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
    /// Accepted requests that have no place yet, and the tokens of their prompts.
    pub queued: usize,
    pub queued_tokens: usize,
    /// Requests under way, by tenant.
    tenants: HashMap<Arc<str>, usize>,
    /// What tenants may still use, where that is limited.
    buckets: HashMap<Arc<str>, Bucket>,
    /// Requests that were not let in.
    refused: u64,
    rate: Rate,
}

impl Books {
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

    /// Takes `requests` prompts of `tokens` tokens together, or says why not.
    pub fn admit(
        &self,
        limits: &Limits,
        tenant: &Arc<str>,
        (requests, tokens): (usize, usize),
        now: Duration,
    ) -> Result<(), ApiError> {
        let mut books = self.books();
        let theirs = books.tenants.get(tenant).copied().unwrap_or(0);
        let (queued, queued_tokens) = (books.queued, books.queued_tokens);
        let spread = 1.0 + SPREAD * (books.refused as f64 * GOLDEN).fract();
        let after = books.rate.time_for(queued + requests, now);
        let mut refuse = |code: &'static ErrorCode, what: &str, have: usize, most: usize| {
            books.refused += 1;
            let retry_after = Some(after.mul_f64(spread));
            let message = format!("{have} {what}, at most {most} may");
            Err(ApiError {
                retry_after,
                ..ApiError::new(code, message)
            })
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
        if let Some(wait) = books.draw(limits, tenant, tokens, now) {
            books.refused += 1;
            let most = limits.tenant_tokens_per_minute.unwrap_or_default();
            let message = format!("this key has used its {most} tokens a minute");
            return Err(ApiError {
                retry_after: Some(wait.max(Rate::SHORTEST)),
                ..ApiError::new(&RATE_LIMIT_EXCEEDED, message)
            });
        }
        books.accepted += requests as u64;
        books.queued += requests;
        books.queued_tokens += tokens;
        *books.tenants.entry(Arc::clone(tenant)).or_default() += requests;
        Ok(())
    }

    /// A request with a prompt of `tokens` tokens waits no more.
    pub fn started(&self, tokens: usize) {
        let mut books = self.books();
        books.queued -= 1;
        books.queued_tokens -= tokens;
    }

    /// A request is answered with `generated` tokens.
    pub fn answered(&self, tenant: &Arc<str>, generated: usize, now: Duration) {
        let mut books = self.books();
        if let Some(bucket) = books.buckets.get_mut(tenant) {
            bucket.level -= generated as f64;
        }
        books.answered += 1;
        books.rate.count(now);
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

/// How many of something there are a second, those long ago forgotten.
#[derive(Clone, Debug, Default)]
struct Rate {
    per_second: f64,
    at: Duration,
}

impl Rate {
    /// What is this long ago counts for a third.
    const MEMORY: Duration = Duration::from_secs(20);
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_mins(1);

    fn decayed(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.at).as_secs_f64();
        self.per_second * (-age / Self::MEMORY.as_secs_f64()).exp()
    }

    fn count(&mut self, now: Duration) {
        self.per_second = self.decayed(now) + 1.0 / Self::MEMORY.as_secs_f64();
        self.at = now;
    }

    /// How long `count` of them take.
    fn time_for(&self, count: usize, now: Duration) -> Duration {
        let seconds = count as f64 / self.decayed(now).max(1e-6);
        Duration::from_secs_f64(seconds.min(Self::LONGEST.as_secs_f64())).max(Self::SHORTEST)
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

    #[test]
    fn each_bound_has_its_code() {
        let (ledger, limits) = (Ledger::default(), limits());
        let code = |tenant: &str, size| {
            let admitted = ledger.admit(&limits, &tenant.into(), size, Duration::ZERO);
            admitted.err().map(|error| error.code.code)
        };
        assert_eq!(code("a", (1, 500)), None, "alone, a prompt may be long");
        assert_eq!(code("a", (1, 1)), Some("queue_tokens_full"));
        ledger.started(500);
        assert_eq!(code("a", (3, 60)), None);
        assert_eq!(code("b", (1, 1)), Some("queue_full"));
        assert_eq!(code("a", (1, 1)), Some("tenant_limit"));
        let books = ledger.books().clone();
        assert_eq!((books.accepted, books.in_flight(), books.lost()), (4, 4, 0));
    }

    #[test]
    fn when_to_come_back_follows_from_the_rate() {
        let (ledger, limits) = (Ledger::default(), limits());
        let tenant: Arc<str> = "a".into();
        let mut now = Duration::ZERO;
        // Two a second for a minute and a half.
        for _ in 0..180 {
            now += Duration::from_millis(500);
            ledger.admit(&limits, &tenant, (1, 1), now).unwrap();
            ledger.started(1);
            ledger.answered(&tenant, 1, now);
        }
        ledger.admit(&limits, &tenant, (3, 3), now).unwrap();
        let after = |now| {
            let refused = ledger.admit(&limits, &"b".into(), (5, 1), now).unwrap_err();
            refused.retry_after.unwrap().as_secs_f64()
        };
        let (first, second) = (after(now), after(now));
        assert!((3.9..4.4).contains(&first), "8 at 2 a second: {first}");
        assert!((first..1.25 * first).contains(&second), "{first} {second}");
        assert!(second > first, "they do not come back together");
        let later = now + Duration::from_hours(1);
        let longest = Rate::LONGEST.as_secs_f64();
        assert!(
            (longest..1.25 * longest).contains(&after(later)),
            "nothing ends any more"
        );
    }

    #[test]
    fn tokens_a_minute_come_back_second_by_second() {
        let limits = Limits {
            tenant_tokens_per_minute: Some(600),
            ..Limits::default()
        };
        let (ledger, tenant) = (Ledger::default(), Arc::<str>::from("a"));
        let admit = |tenant: &Arc<str>, tokens, seconds| {
            let admitted = ledger.admit(&limits, tenant, (1, tokens), Duration::from_secs(seconds));
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
