//! Pairs of runs in, a verdict out.
//!
//! What is compared is the ratio of the second to the first of each pair, which a slow minute of the machine does not change. Looking
//! again and again until something shows would find something in noise: so there are four looks, and what may go wrong in one in a hundred
//! comparisons is shared out among them.

use carnot_record::Better;

use carnot_statistics::{Shift, shift};

/// After how many pairs to look, and the probability that this look finds a difference where there is none.
pub const LOOKS: [(usize, f64); 4] = [(10, 0.004), (20, 0.002), (40, 0.002), (80, 0.002)];

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The second is smaller, certainly, and probably by more than what does not matter.
    Better,
    /// The second is larger in the same way.
    Worse,
    /// They differ by less than matters, if at all.
    Same,
    /// Neither is certain; so many pairs in all would probably tell.
    Inconclusive {
        /// An estimate, from the spread of those that there are.
        wanted: usize,
    },
}

/// A comparison of something that is better when it is smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The second over the first, less one: 0.02 is two in a hundred more.
    pub change: Shift,
    /// What that means.
    pub verdict: Verdict,
}

impl Comparison {
    /// The same of something of which this is the better direction.
    #[must_use]
    pub fn where_better_is(self, better: Better) -> Self {
        let verdict = match (better, self.verdict) {
            (Better::Higher, Verdict::Better) => Verdict::Worse,
            (Better::Higher, Verdict::Worse) => Verdict::Better,
            (_, verdict) => verdict,
        };
        Self { verdict, ..self }
    }
}

/// Compares `pairs` of positive values, of which a change by less than `relevant` (0.01 for one in a hundred) does not matter; finds a difference where there
/// is none with a probability of at most `error`. `None` if the pairs are too few for that.
pub fn compare(pairs: &[(f64, f64)], relevant: f64, error: f64) -> Option<Comparison> {
    let ratios: Vec<f64> = pairs
        .iter()
        .map(|(first, second)| (second / first).ln())
        .collect();
    let logs = shift(&ratios, error)?;
    let change = Shift {
        estimate: logs.estimate.exp_m1(),
        low: logs.low.exp_m1(),
        high: logs.high.exp_m1(),
        confidence: logs.confidence,
    };
    let verdict = if -relevant <= change.low && change.high <= relevant {
        Verdict::Same
    } else if change.low > 0.0 && change.estimate > relevant {
        Verdict::Worse
    } else if change.high < 0.0 && change.estimate < -relevant {
        Verdict::Better
    } else {
        Verdict::Inconclusive {
            wanted: wanted(pairs.len(), change, relevant),
        }
    };
    Some(Comparison { change, verdict })
}

/// Pairs after which the interval would lie on one side of zero, or within what does not matter: intervals narrow with the root of their
/// number.
pub(crate) fn wanted(pairs: usize, change: Shift, relevant: f64) -> usize {
    let half = (change.high - change.low) / 2.0;
    let away = change.estimate.abs();
    let room = if away > relevant {
        away
    } else {
        relevant - away
    };
    let room = room.max(relevant / 4.0);
    let factor = (half / room).powi(2).max(1.5);
    (pairs as f64 * factor).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_statistics::Dice;

    /// Normal noise with a deviation of 1, the same in every run.
    struct Noise(Dice);

    impl Noise {
        fn of(seed: u64) -> Self {
            Self(Dice(seed))
        }

        fn uniform(&mut self) -> f64 {
            self.0.uniform()
        }

        fn next(&mut self) -> f64 {
            self.0.normal()
        }

        /// A run of something that takes 1, with a hundredth of noise, one in ten of the runs half as slow again, and the machine of the moment.
        fn run(&mut self, shift: f64, moment: f64) -> f64 {
            let spike = if self.uniform() < 0.1 { 0.1 } else { 0.0 };
            (1.0 + shift) * moment * (1.0 + 0.01 * self.next() + spike)
        }
    }

    /// The verdict that stands after the looks that it takes, and the pairs that it took.
    fn judged(noise: &mut Noise, change: f64, spikes: bool) -> (Verdict, usize) {
        let mut pairs = Vec::new();
        for (count, error) in LOOKS {
            while pairs.len() < count {
                let moment = 1.0 + 0.2 * noise.uniform();
                let plain = |noise: &mut Noise, shift: f64| {
                    (1.0 + shift) * moment * (1.0 + 0.01 * noise.next())
                };
                pairs.push(if spikes {
                    (noise.run(0.0, moment), noise.run(change, moment))
                } else {
                    (plain(noise, 0.0), plain(noise, change))
                });
            }
            let verdict = compare(&pairs, 0.01, error).unwrap().verdict;
            if !matches!(verdict, Verdict::Inconclusive { .. }) {
                return (verdict, count);
            }
        }
        (Verdict::Inconclusive { wanted: 0 }, 80)
    }

    #[test]
    fn the_same_against_itself_is_seldom_called_different() {
        for spikes in [false, true] {
            let mut noise = Noise::of(1);
            let trials = 4000;
            let called = |verdict| matches!(verdict, Verdict::Better | Verdict::Worse);
            let alarms = (0..trials)
                .filter(|_| called(judged(&mut noise, 0.0, spikes).0))
                .count();
            // One in a hundred, and three deviations of such a count.
            assert!(alarms <= 40 + 19, "{alarms} of {trials}, spikes {spikes}");
        }
    }

    #[test]
    fn three_in_a_hundred_are_found_in_ten_pairs() {
        let mut noise = Noise::of(2);
        let trials = 1000;
        let found = (0..trials)
            .filter(|_| judged(&mut noise, 0.03, false) == (Verdict::Worse, 10))
            .count();
        assert!(found >= 900, "{found} of {trials}");
    }

    #[test]
    fn a_difference_that_does_not_matter_is_none() {
        let pairs: Vec<(f64, f64)> = (0..20)
            .map(|index| (1.0 + f64::from(index), 1.004 * (1.0 + f64::from(index))))
            .collect();
        assert_eq!(compare(&pairs, 0.01, 0.01).unwrap().verdict, Verdict::Same);
        assert_eq!(
            compare(&pairs, 0.001, 0.01).unwrap().verdict,
            Verdict::Worse
        );
        assert_eq!(compare(&pairs[..3], 0.01, 0.01), None);
    }

    #[test]
    fn who_does_not_know_says_how_many_more() {
        let mut noise = Noise::of(3);
        let pairs: Vec<(f64, f64)> = (0..10)
            .map(|_| (1.0 + 0.1 * noise.uniform(), 1.0 + 0.1 * noise.uniform()))
            .collect();
        let comparison = compare(&pairs, 0.01, 0.004).unwrap();
        let Verdict::Inconclusive { wanted } = comparison.verdict else {
            panic!("{comparison:?}");
        };
        assert!((15..2000).contains(&wanted), "{comparison:?}");
    }
}
