//! What the clients saw, and whether it can be believed.

use std::time::{Duration, Instant};

use super::Run;
use super::client::Answer;

/// Quantiles of a latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// How many there are.
    pub count: usize,
    /// Seconds.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine in ten are shorter.
    pub p90: f64,
    /// 99 in a hundred are shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    /// Of values in seconds; nothing of none. Quantiles are values that were seen: the least that so many do not exceed.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = *values.last()?;
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values[rank.clamp(1, values.len()) - 1]
        };
        Some(Self {
            count: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: last,
        })
    }
}

/// What a request must keep to be good.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objectives {
    /// From the due time to the first text, at most.
    pub first: Option<Duration>,
    /// Between two tokens, on average over an answer, at most.
    pub each: Option<Duration>,
    /// From the due time to the end, at most.
    pub whole: Option<Duration>,
}

/// Why figures say nothing of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Void {
    /// Requests were sent late.
    Late {
        /// 99 in a hundred were less late than this; seconds.
        p99: f64,
        /// What would have been borne.
        most: f64,
    },
    /// The generator's thread that reads answers had no time left.
    Busy {
        /// Of one core.
        share: f64,
    },
}

/// Figures of a run. Latencies are in seconds.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests that were due.
    pub asked: usize,
    /// Those that were answered to their end.
    pub answered: usize,
    /// Those of them that kept what was asked.
    pub good: usize,
    /// Seconds, from the first due time to the last end.
    pub wall: f64,
    /// Tokens by the server's count, of prompts and answers.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub tokens: u64,
    /// Tokens of prompts that the server had kept.
    pub cached_tokens: u64,
    /// From the due time to the first text.
    pub first: Option<Latencies>,
    /// From the due time to the end.
    pub whole: Option<Latencies>,
    /// From sending to the first text, and to the end: what the server says of itself.
    pub service_first: Option<Latencies>,
    /// The same to the end.
    pub service_whole: Option<Latencies>,
    /// Between pieces of text; several tokens may come in one.
    pub between: Option<Latencies>,
    /// Of each answer, the time from its first text to its end over its tokens but the first.
    pub each: Option<Latencies>,
    /// From the due time to sending: the generator's own delay.
    pub lag: Option<Latencies>,
    /// What went wrong how often, the most frequent first.
    pub failures: Vec<(String, usize)>,
    /// If the figures cannot be believed, why.
    pub void: Option<Void>,
}

/// Delays of the generator that are always borne, and as a share of what is measured.
const LEAST_LAG: f64 = 0.001;
const LAG_SHARE: f64 = 0.05;
/// Cores that the generator's threads may keep busy: that which reads, and that which sends.
const BUSY: f64 = 0.9;

impl Figures {
    /// Of a run, of which requests that keep `objectives` are good.
    pub fn of(run: &Run, objectives: Objectives) -> Self {
        let good = |answer: &&Answer| answer.outcome.is_ok();
        let answered: Vec<&Answer> = run.answers.iter().filter(good).collect();
        let of = |from: fn(&Answer) -> Instant, to: fn(&Answer) -> Option<Instant>| {
            let spans = answered
                .iter()
                .filter_map(|answer| Some((to(answer)? - from(answer)).as_secs_f64()));
            Latencies::of(spans.collect())
        };
        let usage = |index: usize| {
            answered
                .iter()
                .filter_map(|answer| Some(answer.usage?[index]))
                .sum()
        };
        let gaps = answered.iter().flat_map(|answer| {
            answer
                .pieces
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        });
        let lags = run
            .answers
            .iter()
            .map(|answer| (answer.sent - answer.due).as_secs_f64());
        let first = of(|answer| answer.due, |answer| answer.pieces.first().copied());
        let lag = Latencies::of(lags.collect());
        Self {
            asked: run.answers.len(),
            answered: answered.len(),
            good: answered
                .iter()
                .filter(|answer| keeps(answer, objectives))
                .count(),
            wall: run.wall.as_secs_f64(),
            prompt_tokens: usage(0),
            tokens: usage(1),
            cached_tokens: usage(2),
            whole: of(|answer| answer.due, |answer| Some(answer.ended)),
            service_first: of(
                |answer| answer.sent,
                |answer| answer.pieces.first().copied(),
            ),
            service_whole: of(|answer| answer.sent, |answer| Some(answer.ended)),
            between: Latencies::of(gaps.collect()),
            each: Latencies::of(answered.iter().filter_map(|answer| each(answer)).collect()),
            failures: failures(&run.answers),
            void: void(run, first, lag),
            first,
            lag,
        }
    }
}

/// Seconds for each token but the first.
fn each(answer: &Answer) -> Option<f64> {
    let tokens = answer
        .usage
        .map_or(answer.pieces.len() as u64, |usage| usage[1]);
    let first = answer.pieces.first()?;
    let last = answer.pieces.last()?;
    (tokens > 1).then(|| (*last - *first).as_secs_f64() / (tokens - 1) as f64)
}

fn keeps(answer: &Answer, objectives: Objectives) -> bool {
    let first = answer.pieces.first().map(|first| *first - answer.due);
    let within = |most: Option<Duration>, got: Option<Duration>| {
        most.is_none_or(|most| got.is_some_and(|got| got <= most))
    };
    within(objectives.first, first)
        && within(objectives.whole, Some(answer.ended - answer.due))
        && within(
            objectives.each,
            Some(Duration::from_secs_f64(each(answer).unwrap_or(0.0))),
        )
}

fn failures(answers: &[Answer]) -> Vec<(String, usize)> {
    let mut told: Vec<(String, usize)> = Vec::new();
    for answer in answers {
        let Err(failure) = &answer.outcome else {
            continue;
        };
        let text = failure.to_string();
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => told.push((text, 1)),
        }
    }
    told.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    told
}

fn void(run: &Run, first: Option<Latencies>, lag: Option<Latencies>) -> Option<Void> {
    let most = LEAST_LAG.max(LAG_SHARE * first.map_or(0.0, |first| first.p50));
    if let Some(lag) = lag.filter(|lag| lag.p99 > most) {
        return Some(Void::Late { p99: lag.p99, most });
    }
    let share = run.cores.filter(|share| *share > BUSY)?;
    Some(Void::Busy { share })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let of = Latencies::of(values).unwrap();
        assert_eq!(
            (of.count, of.p50, of.p90, of.p99, of.max),
            (100, 50.0, 90.0, 99.0, 100.0)
        );
        assert_eq!(of.mean, 50.5);
        let one = Latencies::of(vec![2.0]).unwrap();
        assert_eq!((one.p50, one.p99), (2.0, 2.0));
        assert_eq!(Latencies::of(Vec::new()), None);
    }
}
