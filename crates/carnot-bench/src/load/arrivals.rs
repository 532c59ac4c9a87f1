//! When requests come.

use std::sync::Arc;
use std::time::Duration;

use crate::dice::Dice;

/// A process of arrivals.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// So many clients, each of which asks again when it is answered. What a slow server is spared is not seen: use it for throughput.
    Closed {
        /// Clients.
        clients: usize,
    },
    /// One every so often.
    Constant {
        /// Requests a second.
        rate: f64,
    },
    /// As from many people who know nothing of each other: exponential times between them, or, with another burstiness, gamma distributed ones.
    Random {
        /// Requests a second, on average.
        rate: f64,
        /// The squared coefficient of variation of the times between: 1 for a Poisson process, more for bursts.
        burstiness: f64,
    },
    /// As from more and more people who know nothing of each other: a Poisson process whose rate grows evenly, and then stays.
    Ramp {
        /// Requests a second at the beginning.
        from: f64,
        /// Requests a second at the end.
        to: f64,
        /// How long it grows.
        over: Duration,
    },
    /// When somebody else's requests came.
    Recorded(Arc<[Duration]>),
}

impl Arrivals {
    /// When requests are due after the beginning, in order and without end but that of a recording; none of a closed loop. The same seed gives
    /// the same times.
    pub fn offsets(&self, seed: u64) -> Box<dyn Iterator<Item = Duration>> {
        let mut dice = Dice(seed);
        let timed = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        match *self {
            Self::Closed { .. } => Box::new(std::iter::empty()),
            Self::Recorded(ref offsets) => {
                let offsets = Arc::clone(offsets);
                Box::new((0..offsets.len()).map(move |index| offsets[index]))
            }
            // A constant rate begins at once; chance is as likely to be between two requests.
            Self::Constant { rate } => {
                Box::new((0_u64..).map_while(move |index| timed(index as f64 / rate)))
            }
            Self::Random { rate, burstiness } => {
                let mut at = 0.0;
                Box::new(std::iter::from_fn(move || {
                    at += dice.gamma(1.0 / burstiness) * burstiness / rate;
                    timed(at)
                }))
            }
            Self::Ramp { from, to, over } => {
                let over = over.as_secs_f64();
                let mut expected = 0.0;
                Box::new(std::iter::from_fn(move || {
                    expected -= dice.uniform().ln();
                    timed(reached(expected, from, to, over))
                }))
            }
        }
    }
}

/// When a rate that grows from `from` to `to` within `over` seconds, and then stays, has brought `count` requests.
fn reached(count: f64, from: f64, to: f64, over: f64) -> f64 {
    let of_ramp = f64::midpoint(from, to) * over;
    if count > of_ramp {
        return over + (count - of_ramp) / to;
    }
    // count = from·t + growth·t²/2, solved so that a growth of 0 is no division by it.
    let growth = (to - from) / over;
    2.0 * count / (from + (from * from + 2.0 * growth * count).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: &Arrivals, count: usize) -> Vec<f64> {
        let due: Vec<f64> = arrivals
            .offsets(1)
            .take(count + 1)
            .map(|due| due.as_secs_f64())
            .collect();
        due.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn a_constant_rate_is_even() {
        let due: Vec<Duration> = Arrivals::Constant { rate: 4.0 }
            .offsets(0)
            .take(3)
            .collect();
        assert_eq!(due, [0, 250, 500].map(Duration::from_millis));
    }

    #[test]
    fn chance_has_the_rate_and_the_variation_that_were_asked_for() {
        for burstiness in [0.25, 1.0, 4.0] {
            let gaps = gaps(
                &Arrivals::Random {
                    rate: 50.0,
                    burstiness,
                },
                40_000,
            );
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance =
                gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // Four standard errors of the mean; those of the variance depend on the fourth moment.
            assert!(
                (mean * 50.0 - 1.0).abs() < 4.0 * (burstiness / 40_000.0).sqrt(),
                "{mean}"
            );
            assert!(
                (variance / mean.powi(2) / burstiness - 1.0).abs() < 0.15,
                "{variance} of {burstiness}"
            );
        }
    }

    #[test]
    fn the_seed_decides() {
        let of = |seed| {
            Arrivals::Random {
                rate: 1.0,
                burstiness: 1.0,
            }
            .offsets(seed)
            .take(5)
            .collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_ramp_brings_what_lies_under_its_rate() {
        let over = Duration::from_secs(100);
        let (from, to) = (2.0, 20.0);
        let ramp = Arrivals::Ramp { from, to, over };
        let within = |seconds: u64| {
            let end = Duration::from_secs(seconds);
            ramp.offsets(3).take_while(|due| *due < end).count() as f64
        };
        // Expected: the area under the rate; five standard deviations of a Poisson number.
        for (seconds, expected) in [(50, 325.0), (100, 1100.0), (150, 2100.0_f64)] {
            let off = (within(seconds) - expected).abs();
            assert!(
                off < 5.0 * expected.sqrt(),
                "{seconds} s: {off} off {expected}"
            );
        }
        assert!((reached(10.0, 5.0, 5.0, 100.0) - 2.0).abs() < 1e-12);
        assert!((reached(4.0, 0.0, 2.0, 4.0) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_recording_is_played_once() {
        let times = [0, 10, 10, 35].map(Duration::from_millis);
        let recorded = Arrivals::Recorded(times.into());
        assert_eq!(recorded.offsets(9).collect::<Vec<_>>(), times);
    }
}
