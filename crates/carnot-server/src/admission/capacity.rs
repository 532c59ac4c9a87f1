//! How fast requests leave while others wait for their places: what the engine can do, not what it is asked to.
//!
//! Only time in which somebody waits counts, and in it every answer. An idle server says nothing of its speed, and a batch that ends at
//! once is so many answers in the time that it took.

use std::time::Duration;

/// Answers, and the time in which they came; both forgotten slowly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capacity {
    answers: f64,
    seconds: f64,
    /// Up to when it was observed, while somebody waits.
    since: Option<Duration>,
}

impl Capacity {
    /// What is this long ago counts for a third.
    const MEMORY: Duration = Duration::from_secs(20);
    /// Answers after which there is something to go by.
    const ENOUGH: f64 = 8.0;

    /// Up to `now` there were `answers`; from then on somebody waits or not.
    pub fn observe(&mut self, now: Duration, answers: usize, is_waited_for: bool) {
        if self.since.is_some() {
            *self = self.at(now);
            self.answers += answers as f64;
        }
        self.since = is_waited_for.then_some(now);
    }

    fn at(self, now: Duration) -> Self {
        let passed = self
            .since
            .map_or(0.0, |since| now.saturating_sub(since).as_secs_f64());
        let kept = (-passed / Self::MEMORY.as_secs_f64()).exp();
        Self {
            answers: self.answers * kept,
            seconds: self.seconds * kept + passed,
            since: self.since.map(|since| since.max(now)),
        }
    }

    /// Seconds that `count` answers take, as far as that can be told; many where none comes any more.
    pub fn seconds_for(self, count: usize, now: Duration) -> Option<f64> {
        let Self {
            answers, seconds, ..
        } = self.at(now);
        (seconds > 0.0).then(|| count as f64 * seconds / answers.max(1e-9))
    }

    /// The same, where enough answers came to go by.
    pub fn known_seconds_for(self, count: usize, now: Duration) -> Option<f64> {
        let is_known = self.at(now).answers >= Self::ENOUGH;
        self.seconds_for(count, now).filter(|_| is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn only_time_in_which_somebody_waits_counts() {
        let mut capacity = Capacity::default();
        assert_eq!(capacity.seconds_for(1, at(5.0)), None);
        capacity.observe(at(10.0), 0, true);
        // Sixteen at once after two seconds, and again.
        for end in [12.0, 14.0] {
            (0..16).for_each(|_| capacity.observe(at(end), 1, true));
        }
        let eight = capacity.known_seconds_for(8, at(14.0)).unwrap();
        assert!((0.9..1.1).contains(&eight), "{eight}");
        capacity.observe(at(14.0), 0, false);
        // Few are asked for, and come slowly.
        for end in 15..100 {
            capacity.observe(at(f64::from(end)), 1, false);
        }
        assert_eq!(capacity.known_seconds_for(8, at(100.0)), Some(eight));
    }

    #[test]
    fn an_engine_that_answers_nobody_is_slow_and_then_unknown() {
        let mut capacity = Capacity::default();
        capacity.observe(at(0.0), 0, true);
        (1..=40).for_each(|index| capacity.observe(at(0.5 * f64::from(index)), 1, true));
        let soon = capacity.seconds_for(1, at(20.0)).unwrap();
        let late = capacity.seconds_for(1, at(40.0)).unwrap();
        assert!(
            (0.4..0.6).contains(&soon) && late > 2.0 * soon,
            "{soon} {late}"
        );
        assert_eq!(capacity.known_seconds_for(1, at(80.0)), None);
    }
}
