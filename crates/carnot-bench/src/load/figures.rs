//! What the clients saw, and whether it can be believed.

use std::fmt;
use std::time::Duration;

use super::Raw;

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
        /// In cores.
        share: f64,
    },
}

impl fmt::Display for Void {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { p99, most } => write!(
                formatter,
                "requests were sent late, 1 in 100 by {:.2} ms or more, where {:.2} ms is borne: the figures are of this client as much as of the server",
                1e3 * p99,
                1e3 * most
            ),
            Self::Busy { share } => {
                write!(
                    formatter,
                    "the client used {share:.2} of its two cores: it may have been the limit"
                )
            }
        }?;
        formatter.write_str("; ask for less, or from another machine")
    }
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
    /// Rows of tensors that were answered.
    pub rows: u64,
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
/// And as a share of the tightest objective: what it can change of how many are good is no more than that.
const OBJECTIVE_SHARE: f64 = 0.01;
/// Cores that the generator's threads may keep busy: that which reads, and that which sends.
const BUSY: f64 = 1.8;

impl Figures {
    /// Of the requests of a run, of which those that keep `objectives` are good; `cores` is what the generator itself used.
    pub fn of(requests: &[Raw], cores: Option<f64>, objectives: Objectives) -> Self {
        let answered: Vec<&Raw> = requests
            .iter()
            .filter(|request| request.failure.is_none())
            .collect();
        let of = |samples: fn(&Raw) -> Option<f64>| {
            Latencies::of(
                answered
                    .iter()
                    .filter_map(|request| samples(request))
                    .collect(),
            )
        };
        let tokens = |count: fn(&Raw) -> u64| answered.iter().map(|request| count(request)).sum();
        let gaps = answered.iter().flat_map(|request| gaps(request));
        let firsts = of(first);
        let wholes = of(|request| Some(whole(request)));
        let lags = Latencies::of(requests.iter().map(lag).collect());
        let is_good = |request: &&&Raw| keeps(request, objectives);
        Self {
            asked: requests.len(),
            answered: answered.len(),
            good: answered.iter().filter(is_good).count(),
            wall: requests
                .iter()
                .map(|request| request.ended_ns)
                .max()
                .map_or(0.0, |end| end as f64 / 1e9),
            prompt_tokens: tokens(|request| request.prompt_tokens),
            tokens: tokens(|request| request.tokens),
            cached_tokens: tokens(|request| request.cached_tokens),
            rows: tokens(|request| request.rows),
            service_first: of(|request| Some(first(request)? - lag(request))),
            service_whole: of(|request| Some(whole(request) - lag(request))),
            between: Latencies::of(gaps.collect()),
            each: of(each),
            failures: failures(requests),
            // Tensors come at once, so that their end is also their first.
            void: void(cores, borne(firsts.or(wholes), objectives), lags),
            first: firsts,
            whole: wholes,
            lag: lags,
        }
    }
}

/// Seconds from one time to another; the later one is never the first.
fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// Seconds from when it was due to its first text.
pub fn first(request: &Raw) -> Option<f64> {
    Some(seconds(request.due_ns, *request.pieces_ns.first()?))
}

/// Seconds from when it was due to its end.
pub fn whole(request: &Raw) -> f64 {
    seconds(request.due_ns, request.ended_ns)
}

/// Seconds from when it was due to when it was sent.
pub fn lag(request: &Raw) -> f64 {
    seconds(request.due_ns, request.sent_ns)
}

/// Seconds between its pieces of text.
pub fn gaps(request: &Raw) -> impl Iterator<Item = f64> + '_ {
    let pairs = request.pieces_ns.windows(2);
    pairs.map(|pair| seconds(pair[0], pair[1]))
}

/// Seconds for each token but the first.
pub fn each(request: &Raw) -> Option<f64> {
    let (first, last) = (request.pieces_ns.first()?, request.pieces_ns.last()?);
    (request.tokens > 1).then(|| seconds(*first, *last) / (request.tokens - 1) as f64)
}

fn keeps(request: &Raw, objectives: Objectives) -> bool {
    let within = |most: Option<Duration>, got: Option<f64>| {
        most.is_none_or(|most| got.is_some_and(|got| got <= most.as_secs_f64()))
    };
    within(objectives.first, first(request))
        && within(objectives.whole, Some(whole(request)))
        && within(objectives.each, Some(each(request).unwrap_or(0.0)))
}

fn failures(requests: &[Raw]) -> Vec<(String, usize)> {
    let mut told: Vec<(String, usize)> = Vec::new();
    for failure in requests
        .iter()
        .filter_map(|request| request.failure.as_ref())
    {
        match told.iter_mut().find(|(known, _)| known == failure) {
            Some((_, count)) => *count += 1,
            None => told.push((failure.clone(), 1)),
        }
    }
    told.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    told
}

/// The delay of the generator that changes nothing of what is told: a part of the typical wait, or of what is allowed.
fn borne(first: Option<Latencies>, objectives: Objectives) -> f64 {
    let Objectives {
        first: to_first,
        whole,
        ..
    } = objectives;
    let allowed = to_first.into_iter().chain(whole).min().unwrap_or_default();
    LEAST_LAG
        .max(LAG_SHARE * first.map_or(0.0, |first| first.p50))
        .max(OBJECTIVE_SHARE * allowed.as_secs_f64())
}

fn void(cores: Option<f64>, most: f64, lag: Option<Latencies>) -> Option<Void> {
    if let Some(lag) = lag.filter(|lag| lag.p99 > most) {
        return Some(Void::Late { p99: lag.p99, most });
    }
    let share = cores.filter(|share| *share > BUSY)?;
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
