//! When each of several things is due, on a clock that is handed in.

use std::time::Duration;

/// Things that are due at the multiples of their intervals. Those that are late are left out: nothing is caught up on.
#[derive(Debug)]
pub struct Schedule<T> {
    rows: Vec<Row<T>>,
}

#[derive(Debug)]
struct Row<T> {
    what: T,
    interval: Duration,
    next: Duration,
}

impl<T: Copy> Schedule<T> {
    /// All are due at 0 first. Intervals are more than 0.
    pub fn new(intervals: impl IntoIterator<Item = (T, Duration)>) -> Self {
        let rows = intervals.into_iter().map(|(what, interval)| Row {
            what,
            interval,
            next: Duration::ZERO,
        });
        Self {
            rows: rows.collect(),
        }
    }

    /// What is due at `now`; each is due again at the first multiple of its interval after `now`.
    pub fn due(&mut self, now: Duration) -> Vec<T> {
        let due = self.rows.iter_mut().filter(|row| row.next <= now);
        due.map(|row| {
            let late = Duration::from_nanos((now.as_nanos() % row.interval.as_nanos()) as u64);
            row.next = now.saturating_add(row.interval.saturating_sub(late));
            row.what
        })
        .collect()
    }

    /// How long nothing is due from `now` on; `None` where nothing ever is.
    pub fn idle(&self, now: Duration) -> Option<Duration> {
        let next = self.rows.iter().map(|row| row.next).min()?;
        Some(next.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn each_is_due_at_its_own_interval() {
        let mut schedule = Schedule::new([('a', ms(500)), ('b', ms(1000))]);
        let mut now = Duration::ZERO;
        let mut told = Vec::new();
        while now <= ms(2000) {
            told.push((now.as_millis(), schedule.due(now)));
            now += schedule.idle(now).unwrap();
        }
        let expected = [
            (0, vec!['a', 'b']),
            (500, vec!['a']),
            (1000, vec!['a', 'b']),
            (1500, vec!['a']),
            (2000, vec!['a', 'b']),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_late_is_left_out_and_the_beat_is_kept() {
        let mut schedule = Schedule::new([('a', ms(100))]);
        schedule.due(Duration::ZERO);
        assert_eq!(schedule.due(ms(99)), []);
        assert_eq!(schedule.due(ms(470)), ['a']);
        assert_eq!(schedule.idle(ms(470)), Some(ms(30)));
        assert_eq!(schedule.due(ms(499)), []);
    }

    #[test]
    fn where_nothing_is_watched_nothing_is_due() {
        let mut schedule = Schedule::<char>::new([]);
        assert_eq!(schedule.due(ms(5)), []);
        assert_eq!(schedule.idle(ms(5)), None);
    }
}
