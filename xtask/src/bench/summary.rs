//! From the raw rounds of a row to what is reported of it: medians where they say something, and otherwise why not.

use carnot_statistics::{Interval, median, median_interval, quantile};

use super::engines::CARNOT;
use super::results::{Round, RowResults};

/// The median of the rounds, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Seconds of Carnot.
    pub carnot: Option<Spread>,
    /// Seconds of the best peer of each round.
    pub peer: Option<Spread>,
    /// Seconds of the best peer over those of Carnot, round by round.
    pub ratio: Option<Spread>,
    /// Where the median of what is judged lies: of the ratio, or of the seconds of those who took part.
    pub interval: Option<Interval>,
    /// Whether that interval is narrow enough to report a median.
    pub is_sharp: bool,
    pub rounds: usize,
    /// Whether the last rows of all engines had the same likeliest token, in all rounds.
    pub agree: bool,
}

impl Summary {
    /// `widest`: the widest interval that is reported, as a share of the median.
    pub fn of(rounds: &[Round], widest: f64) -> Self {
        let [carnot, peer, ratio] = series(rounds);
        let judged = [&ratio, &carnot, &peer]
            .into_iter()
            .find(|values| !values.is_empty());
        let interval = judged.and_then(|values| median_interval(values));
        let middle = judged.and_then(|values| median(values));
        let width = interval.map(|interval| interval.high - interval.low);
        let is_sharp =
            matches!((width, middle), (Some(width), Some(middle)) if width <= widest * middle);
        Self {
            carnot: spread(&carnot),
            peer: spread(&peer),
            ratio: spread(&ratio),
            interval,
            is_sharp,
            rounds: rounds.len(),
            agree: rounds.iter().all(agrees),
        }
    }
}

impl RowResults {
    pub fn summary(&self, widest: f64) -> Summary {
        Summary::of(&self.rounds, widest)
    }
}

/// The seconds of Carnot, of the best peer, and their ratio; each for the rounds that have it.
fn series(rounds: &[Round]) -> [Vec<f64>; 3] {
    let carnot = |round: &Round| round.samples.get(CARNOT).map(|sample| sample.seconds);
    [
        rounds.iter().filter_map(carnot).collect(),
        rounds.iter().filter_map(Round::peer).collect(),
        rounds.iter().filter_map(Round::ratio).collect(),
    ]
}

fn spread(values: &[f64]) -> Option<Spread> {
    Some(Spread {
        median: median(values)?,
        low: quantile(values, 0.0)?,
        high: quantile(values, 1.0)?,
    })
}

fn agrees(round: &Round) -> bool {
    let mut tops = round.samples.values().map(|sample| sample.top);
    let first = tops.next();
    tops.all(|top| Some(top) == first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::results::Sample;
    use super::*;

    fn round(seconds: &[(&str, f64)]) -> Round {
        let sample = |seconds: f64| Sample {
            seconds,
            tokens: 8,
            prepare_seconds: 0.0,
            top: 3,
            spawn_seconds: None,
            ticks: 0,
            foreign_ticks: 0,
        };
        let samples = seconds
            .iter()
            .map(|(key, seconds)| ((*key).to_owned(), sample(*seconds)));
        Round {
            order: seconds.iter().map(|(key, _)| (*key).to_owned()).collect(),
            samples: samples.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn the_ratio_is_to_the_best_peer_of_each_round() {
        let rounds = [
            round(&[(CARNOT, 1.0), ("a", 2.0), ("b", 3.0)]),
            round(&[(CARNOT, 2.0), ("a", 6.0), ("b", 4.0)]),
            round(&[(CARNOT, 1.0), ("a", 2.1), ("b", 9.0)]),
        ];
        let summary = Summary::of(&rounds, 0.25);
        let ratio = summary.ratio.unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.1));
        assert_eq!(summary.peer.unwrap().median, 2.1);
        assert!(summary.is_sharp && summary.agree);
        assert_eq!(summary.interval.unwrap().confidence, 0.75);
    }

    #[test]
    fn a_wide_interval_is_not_sharp() {
        let rounds = [1.0, 2.0, 3.0].map(|peer| round(&[(CARNOT, 1.0), ("a", peer)]));
        assert!(!Summary::of(&rounds, 0.25).is_sharp);
        assert!(Summary::of(&rounds, 1.0).is_sharp);
        assert!(!Summary::of(&[], 0.25).is_sharp);
    }

    #[test]
    fn those_who_are_alone_are_judged_by_their_own_seconds() {
        for key in [CARNOT, "a"] {
            let rounds = [1.0, 1.1, 1.2].map(|seconds| round(&[(key, seconds)]));
            let summary = Summary::of(&rounds, 0.25);
            assert_eq!((summary.ratio, summary.interval.unwrap().high), (None, 1.2));
        }
    }

    #[test]
    fn other_tokens_are_noticed() {
        let mut rounds = [round(&[(CARNOT, 1.0), ("a", 2.0)])];
        rounds[0].samples.get_mut("a").unwrap().top = 4;
        assert!(!Summary::of(&rounds, 0.25).agree);
    }
}
