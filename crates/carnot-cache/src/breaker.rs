//! When a tier that fails is left alone, and when it is tried again.
//!
//! Time is handed in. Closed: everything is tried. After some failures in a row it opens: nothing is tried, so that requests do not wait for what does
//! not answer. After a while one attempt is let through: if it succeeds the breaker closes, if not it stays open for twice as long.

use std::time::Duration;

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// How long it stays open at first, and at most.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Whether a tier is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It failed, and is not.
    Open,
    /// One attempt is under way that decides.
    HalfOpen,
}

impl BreakerState {
    /// The name that metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    state: BreakerState,
    failures: u32,
    pause: Duration,
    /// When an attempt is let through; while one is under way, when it is given up.
    until: Duration,
    opened: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed,
            failures: 0,
            pause: FIRST,
            until: Duration::ZERO,
            opened: 0,
        }
    }
}

impl Breaker {
    /// Whether something may be tried now. An attempt whose outcome is never told holds others off only as long as the pause was.
    pub fn admits(&mut self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open | BreakerState::HalfOpen if now < self.until => false,
            BreakerState::Open | BreakerState::HalfOpen => {
                self.state = BreakerState::HalfOpen;
                self.until = now + self.pause;
                true
            }
        }
    }

    pub fn succeeded(&mut self) {
        *self = Self {
            opened: self.opened,
            ..Self::default()
        };
    }

    pub fn failed(&mut self, now: Duration) {
        self.failures += 1;
        match self.state {
            BreakerState::Closed if self.failures < FAILURES => {}
            BreakerState::Closed => self.open(now),
            BreakerState::HalfOpen => {
                self.pause = (2 * self.pause).min(LONGEST);
                self.open(now);
            }
            // An attempt of before it opened.
            BreakerState::Open => {}
        }
    }

    fn open(&mut self, now: Duration) {
        self.state = BreakerState::Open;
        self.until = now + self.pause;
        self.opened += 1;
    }

    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// How often it opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_opens_is_tried_again_and_closes() {
        let mut breaker = Breaker::default();
        (0..2).for_each(|_| breaker.failed(at(0)));
        assert!(breaker.admits(at(0)));
        breaker.failed(at(0));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.admits(at(249)));
        assert!(breaker.admits(at(250)), "one is let through");
        assert!(!breaker.admits(at(251)), "and no other");
        breaker.failed(at(300));
        assert!(!breaker.admits(at(799)) && breaker.admits(at(800)));
        breaker.succeeded();
        assert_eq!(
            (breaker.state(), breaker.opened()),
            (BreakerState::Closed, 2)
        );
    }

    #[test]
    fn failures_count_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(at(0));
            breaker.failed(at(0));
            breaker.succeeded();
        }
        assert_eq!(breaker.opened(), 0);
    }

    #[test]
    fn an_attempt_that_vanished_does_not_keep_it_open() {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.failed(at(0)));
        assert!(breaker.admits(at(300)));
        assert!(breaker.admits(at(550)), "the client of the first one left");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        (0..3).for_each(|_| breaker.failed(now));
        for _ in 0..20 {
            now += LONGEST;
            assert!(breaker.admits(now));
            breaker.failed(now);
        }
    }
}
