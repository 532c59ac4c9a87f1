//! Whether memory after unloading rises from cycle to cycle.
//!
//! ```text
//! cycles   |·· settling ··|-- second quarter --|---------- last half ----------|
//!                          how fast then         a trend that is certainly above 0, its largest step left out: a leak,
//!                                                unless it certainly rises more slowly than before: then nobody knows yet
//! ```
//!
//! An allocator takes what it will keep in the first cycles, and now and then a larger piece later. A threshold would miss a small leak for
//! ever and call a large model's first load one; a line through a single step has a slope ([`carnot_bench::trend`]).

use carnot_bench::{Trend, trend};

/// Fewer cycles say nothing: half of them make a trend.
pub const LEAST_CYCLES: usize = 16;

/// What the cycles say; the trend is that of the last half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Memory does not certainly rise.
    Level(Trend),
    /// It does.
    Leak(Trend),
    /// It does, but certainly more slowly than before.
    Settling(Trend),
    /// Nobody knows.
    TooFew,
}

impl Verdict {
    /// Of what was resident after each cycle.
    pub fn of(unloaded: &[f64]) -> Self {
        let (quarter, half) = (unloaded.len() / 4, unloaded.len() / 2);
        let late = &unloaded[half..];
        let Some(told) = trend(late) else {
            return Self::TooFew;
        };
        let persists = trend(&without_largest_step(late)).is_some_and(|trend| trend.rises());
        if !told.rises() || !persists {
            return Self::Level(told);
        }
        match trend(&unloaded[quarter..half]) {
            Some(early) if early.low > told.high => Self::Settling(told),
            _ => Self::Leak(told),
        }
    }

    /// The trend, if there is one.
    pub fn trend(self) -> Option<Trend> {
        match self {
            Self::Level(trend) | Self::Leak(trend) | Self::Settling(trend) => Some(trend),
            Self::TooFew => None,
        }
    }
}

/// The values as if the largest rise from one to the next had not been.
fn without_largest_step(values: &[f64]) -> Vec<f64> {
    let rise = |index: &usize| values[*index] - values[*index - 1];
    let largest = (1..values.len()).max_by(|one, other| rise(one).total_cmp(&rise(other)));
    let Some(at) = largest.filter(|at| rise(at) > 0.0) else {
        return values.to_vec();
    };
    let (before, after) = values.split_at(at);
    let after = after.iter().map(|value| value - rise(&at));
    before.iter().copied().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many cycles of a process that settles, and then keeps `leak` bytes of each; jitter of some pages.
    fn cycles(count: usize, leak: f64) -> Vec<f64> {
        let jitter = [0.0, 3.0, 1.0, 2.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0, 2.0];
        (0..count)
            .map(|index| {
                let settling = 2e6 * (1.0 - 0.1f64.powi(index as i32));
                50e6 + settling + 4096.0 * jitter[index % jitter.len()] + leak * index as f64
            })
            .collect()
    }

    #[test]
    fn a_planted_leak_is_seen_and_measured() {
        for leak in [4096.0, 100_000.0, 2e6] {
            let Verdict::Leak(trend) = Verdict::of(&cycles(50, leak)) else {
                panic!("{leak}: {:?}", Verdict::of(&cycles(50, leak)));
            };
            assert!(
                (trend.low..=trend.high).contains(&leak),
                "{leak}: {trend:?}"
            );
        }
    }

    #[test]
    fn jitter_and_a_step_are_no_leak() {
        for count in [LEAST_CYCLES, 50, 200] {
            let told = Verdict::of(&cycles(count, 0.0));
            assert!(matches!(told, Verdict::Level(_)), "{count}: {told:?}");
        }
        for at in [20, 26, 30, 37, 45] {
            let mut step = cycles(50, 0.0);
            step[at..].iter_mut().for_each(|bytes| *bytes += 5e6);
            let told = Verdict::of(&step);
            assert!(matches!(told, Verdict::Level(_)), "{at}: {told:?}");
        }
    }

    #[test]
    fn what_rises_ever_more_slowly_settles() {
        let logarithm: Vec<f64> = (1..=80).map(|cycle| 1e7 * f64::from(cycle).ln()).collect();
        assert!(
            matches!(Verdict::of(&logarithm), Verdict::Settling(_)),
            "{:?}",
            Verdict::of(&logarithm)
        );
    }

    #[test]
    fn few_cycles_say_nothing() {
        assert_eq!(Verdict::of(&[]), Verdict::TooFew);
        assert_eq!(Verdict::of(&cycles(LEAST_CYCLES - 2, 9e6)), Verdict::TooFew);
        assert!(matches!(
            Verdict::of(&cycles(LEAST_CYCLES, 9e6)),
            Verdict::Leak(_)
        ));
    }
}
