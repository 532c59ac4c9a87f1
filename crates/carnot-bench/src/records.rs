//! Two records of a benchmark in, a verdict on each metric out, and which loss moved.
//!
//! The values of two files are not paired: medians are compared by Mann and Whitney, other quantiles by what bounds them. All of them are one family, in which
//! a difference is called where there is none with a probability of at most one in a hundred. What differs from one start of a
//! program to the next (where memory lies, what else runs) is in neither of two records: runs in turns see it, a threshold bears it.

use std::collections::BTreeSet;

use carnot_record::{BenchRecord, Better, LossSamples, MachineSummary, Metric, ModelSummary};
use carnot_statistics::{
    Shift, adjusted, mann_whitney, median, quantile, shift_between, tail_shift,
};

use crate::comparison::{Verdict, wanted};
use crate::moved_sites::{MovedSite, moved_sites};
use crate::operations::MovedOperation;

/// The probability that anything is called different where nothing is, and that an interval misses.
const ERROR: f64 = 0.01;

/// Two records that were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordComparison {
    /// What was measured: the suite, and the model if one ran.
    pub title: String,
    /// A row for each quantile of each metric that both have, as the record orders them.
    pub rows: Vec<Row>,
    /// Where time moved, the largest movement first.
    pub losses: Vec<MovedLoss>,
    /// Which operations took more or less, the largest movement first; none of benchmarks, which do not tell them apart.
    pub operations: Vec<MovedOperation>,
    /// Who allocates more or less, the largest movement first; none where allocations were not tracked.
    pub sites: Vec<MovedSite>,
    /// What makes this doubtful.
    pub warnings: Vec<String>,
}

/// A quantile of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The metric.
    pub metric: String,
    /// Of `baseline` and `current`.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// Which quantile of the values.
    pub quantile: f64,
    /// How many values there are in the baseline, and now.
    pub counts: (usize, usize),
    /// It was.
    pub baseline: f64,
    /// It is.
    pub current: f64,
    /// Of the baseline: 0.02 is two in a hundred more. An end of the interval is infinite where nothing bounds it.
    pub change: Shift,
    /// How probable such a change is where there is none, adjusted for all rows; `None` of single runs.
    pub p: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// A loss, then and now.
#[derive(Clone, Debug, PartialEq)]
pub struct MovedLoss {
    /// As in the record.
    pub name: String,
    /// The median of its repetitions, in nanoseconds.
    pub baseline_ns: f64,
    /// The same, now.
    pub current_ns: f64,
    /// By how much it is longer. An end of the interval is infinite where nothing bounds it.
    pub shift_ns: Shift,
    /// The estimate over the wall time of the baseline.
    pub share: f64,
}

/// Something that has to be the same of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What it is.
    pub what: String,
    /// Of the baseline.
    pub baseline: String,
    /// Of the other.
    pub current: String,
}

/// What forbids to compare two records: another suite, machine, model or condition.
pub fn mismatches(baseline: &BenchRecord, current: &BenchRecord) -> Vec<Mismatch> {
    let mut found = Mismatches::default();
    found.look("the suite", &baseline.suite, &current.suite);
    found.machine(&baseline.machine, &current.machine);
    found.model(baseline.model.as_ref(), current.model.as_ref());
    let names: BTreeSet<&String> = baseline
        .conditions
        .keys()
        .chain(current.conditions.keys())
        .collect();
    for name in names {
        let of = |record: &BenchRecord| {
            let value = record.conditions.get(name);
            value.map_or_else(|| "not set".to_owned(), Clone::clone)
        };
        found.look(
            &format!("the condition {name}"),
            &of(baseline),
            &of(current),
        );
    }
    found.0
}

/// Differences, as they are looked for.
#[derive(Default)]
pub(crate) struct Mismatches(pub Vec<Mismatch>);

impl Mismatches {
    fn look(&mut self, what: &str, baseline: &str, current: &str) {
        if baseline != current {
            self.0.push(Mismatch {
                what: what.to_owned(),
                baseline: baseline.to_owned(),
                current: current.to_owned(),
            });
        }
    }

    pub fn machine(&mut self, baseline: &MachineSummary, current: &MachineSummary) {
        self.look("the processor", &baseline.cpu, &current.cpu);
        let (was, is) = (baseline.threads.to_string(), current.threads.to_string());
        self.look("the number of threads", &was, &is);
    }

    pub fn model(&mut self, baseline: Option<&ModelSummary>, current: Option<&ModelSummary>) {
        let described = |model: Option<&ModelSummary>| match model {
            None => "none".to_owned(),
            Some(model) => format!(
                "{} {} of {} bytes",
                model.name, model.file_type, model.bytes
            ),
        };
        self.look("the model", &described(baseline), &described(current));
    }
}

/// Compares pairs of records, the baseline first; a change by less than `relevant` (0.1 for a tenth) does not matter. All pairs are one family of tests.
pub fn compare_records(
    pairs: &[(&BenchRecord, &BenchRecord)],
    relevant: f64,
) -> Vec<RecordComparison> {
    let mut compared: Vec<RecordComparison> = pairs
        .iter()
        .map(|(baseline, current)| compared(baseline, current))
        .collect();
    let mut rows: Vec<&mut Row> = compared.iter_mut().flat_map(|one| &mut one.rows).collect();
    let p_values: Vec<f64> = rows.iter().filter_map(|row| row.p).collect();
    let family = p_values.len();
    for (row, p) in rows.iter_mut().zip(adjusted(&p_values)) {
        row.p = Some(p);
        row.verdict = row.judged(p, relevant, family);
    }
    compared
}

/// Everything but the verdicts, which all rows of all pairs decide.
fn compared(baseline: &BenchRecord, current: &BenchRecord) -> RecordComparison {
    let pairs = baseline
        .metrics
        .iter()
        .filter_map(|metric| Some((metric, current.metric(&metric.name)?)));
    let rows = pairs.flat_map(|(was, is)| {
        let shares = was
            .quantiles
            .iter()
            .filter(|share| is.quantiles.contains(share));
        shares
            .filter_map(|&share| Row::of(was, is, share))
            .collect::<Vec<_>>()
    });
    RecordComparison {
        title: title(&baseline.suite, baseline.model.as_ref()),
        rows: rows.collect(),
        losses: moved(&baseline.losses, &current.losses),
        operations: Vec::new(),
        sites: moved_sites(&baseline.allocations, &current.allocations),
        warnings: warnings(baseline, current),
    }
}

pub(crate) fn title(suite: &str, model: Option<&ModelSummary>) -> String {
    match model {
        None => suite.to_owned(),
        Some(model) => format!("{suite}, {} {}", model.name, model.file_type),
    }
}

fn warnings(baseline: &BenchRecord, current: &BenchRecord) -> Vec<String> {
    let told = |which: &str, record: &BenchRecord| -> Vec<String> {
        record
            .warnings
            .iter()
            .map(|warning| format!("{which}: {warning}"))
            .collect()
    };
    let only = |one: &BenchRecord, other: &BenchRecord, which: &str| -> Vec<String> {
        let names = one.metrics.iter().map(|metric| &metric.name);
        let alone = names.filter(|name| other.metric(name).is_none());
        alone
            .map(|name| format!("{name} is only in the {which}"))
            .collect()
    };
    [
        told("baseline", baseline),
        told("current", current),
        only(baseline, current, "baseline"),
        only(current, baseline, "current record"),
    ]
    .concat()
}

impl Row {
    /// Without a verdict yet, and with a p value that nothing adjusted. `None` where there are no values.
    fn of(baseline: &Metric, current: &Metric, share: f64) -> Option<Self> {
        let scale = Scale::of(&baseline.values, &current.values)?;
        let (was, is) = (
            scale.of_values(&baseline.values),
            scale.of_values(&current.values),
        );
        let (shift, p) = if share == 0.5 {
            (bounded_shift(&was, &is)?, mann_whitney(&was, &is)?.p)
        } else {
            let tail = tail_shift(&was, &is, share, ERROR)?;
            (tail.shift, tail.p)
        };
        let mut values = baseline.values.iter().chain(&current.values);
        let is_constant = values.all(|value| *value == baseline.values[0]);
        Some(Self {
            metric: baseline.name.clone(),
            unit: baseline.unit.clone(),
            better: baseline.better,
            quantile: share,
            counts: (was.len(), is.len()),
            baseline: quantile(&baseline.values, share)?,
            current: quantile(&current.values, share)?,
            change: if is_constant {
                CONSTANT
            } else {
                scale.relative(shift)
            },
            p: Some(p),
            verdict: Verdict::Same,
        })
    }

    /// What this means with an adjusted p value, in a family of so many.
    fn judged(&self, p: f64, relevant: f64, family: usize) -> Verdict {
        let Shift {
            estimate,
            low,
            high,
            ..
        } = self.change;
        // Of values that are mostly alike, such as failures, medians stay where they are although more of them differ.
        let hides = p <= ERROR && estimate == 0.0;
        if -relevant <= low && high <= relevant && !hides {
            Verdict::Same
        } else if p <= ERROR && estimate.abs() > relevant {
            direction(self.better, estimate)
        } else {
            Verdict::Inconclusive {
                wanted: self.wanted(relevant, family),
            }
        }
    }

    /// Values of each record after which this would probably be certain.
    fn wanted(&self, relevant: f64, family: usize) -> usize {
        let count = self.counts.0.min(self.counts.1);
        let least = least_values(self.quantile, ERROR / family.max(1) as f64);
        let is_bounded = self.change.low.is_finite() && self.change.high.is_finite();
        if is_bounded && self.change.estimate.is_finite() {
            wanted(count, self.change, relevant).max(least)
        } else {
            least.max(2 * count)
        }
    }
}

/// Better or worse, where something rose or fell.
pub(crate) fn direction(better: Better, change: f64) -> Verdict {
    if (change > 0.0) == (better == Better::Higher) {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}

/// The least number of values in each of two samples with which a difference of this quantile can be certain at all.
fn least_values(share: f64, error: f64) -> usize {
    if share == 0.5 {
        // Of the orders of twice n values, two are the most uneven.
        let mut probability = 2.0;
        let orders = (1..=64_u32).map(|n| {
            let n = f64::from(n);
            probability *= n / (2.0 * (2.0 * n - 1.0));
            probability
        });
        return 1 + orders
            .take_while(|&probability| probability > error)
            .count();
    }
    // The quantile is beyond all n values with the probability of the n-th power of its share.
    let beyond = share.max(1.0 - share).ln();
    if beyond == 0.0 {
        usize::MAX
    } else {
        ((error / 4.0).ln() / beyond).ceil() as usize
    }
}

/// A shift with the interval of [`ERROR`], unbounded where the values are too few. `None` where there are none.
fn bounded_shift(first: &[f64], second: &[f64]) -> Option<Shift> {
    shift_between(first, second, ERROR).or_else(|| {
        let least = shift_between(first, second, 1.0)?;
        Some(unbounded(least.estimate))
    })
}

/// Sizes of files and counts do not vary: where nothing does, nothing changed.
const CONSTANT: Shift = Shift {
    estimate: 0.0,
    low: 0.0,
    high: 0.0,
    confidence: 1.0,
};

/// An estimate of which nothing is known.
pub(crate) fn unbounded(estimate: f64) -> Shift {
    Shift {
        estimate,
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        confidence: 0.0,
    }
}

/// How a change is told relative to what was.
enum Scale {
    /// All values are above 0: by the ratio.
    Logarithmic,
    /// Some are not: by the difference over the median of the baseline.
    Linear(f64),
}

impl Scale {
    fn of(baseline: &[f64], current: &[f64]) -> Option<Self> {
        let middle = median(baseline)?;
        let mut values = baseline.iter().chain(current);
        Some(if values.all(|&value| value > 0.0) {
            Self::Logarithmic
        } else {
            Self::Linear(middle.abs())
        })
    }

    fn of_values(&self, values: &[f64]) -> Vec<f64> {
        match self {
            Self::Logarithmic => values.iter().map(|value| value.ln()).collect(),
            Self::Linear(_) => values.to_vec(),
        }
    }

    fn relative(&self, shift: Shift) -> Shift {
        let change = |shift: f64| match self {
            Self::Logarithmic => shift.exp_m1(),
            // Of nothing, anything more is infinitely more, and no more is none.
            Self::Linear(_) if shift == 0.0 => 0.0,
            Self::Linear(middle) => shift / middle,
        };
        // The logarithm of a ratio that nothing bounds from below.
        let bounded = |end: f64, change: f64| if end.is_infinite() { end } else { change };
        Shift {
            estimate: change(shift.estimate),
            low: bounded(shift.low, change(shift.low)),
            high: bounded(shift.high, change(shift.high)),
            confidence: shift.confidence,
        }
    }
}

/// The losses of both, the largest movement first; a loss that one has not is nothing there.
fn moved(baseline: &[LossSamples], current: &[LossSamples]) -> Vec<MovedLoss> {
    let names: BTreeSet<&String> = baseline
        .iter()
        .chain(current)
        .map(|loss| &loss.name)
        .collect();
    let wall = median(&walls(baseline)).unwrap_or_default();
    let loss = |name: &String| {
        let (was, is) = (samples(baseline, name), samples(current, name));
        let shift_ns = bounded_shift(&was, &is)?;
        Some(MovedLoss {
            name: name.clone(),
            baseline_ns: median(&was)?,
            current_ns: median(&is)?,
            shift_ns,
            share: shift_ns.estimate / wall,
        })
    };
    let mut moved: Vec<MovedLoss> = names.into_iter().filter_map(loss).collect();
    moved.sort_by(|one, other| {
        other
            .shift_ns
            .estimate
            .abs()
            .total_cmp(&one.shift_ns.estimate.abs())
    });
    moved
}

/// The values of the loss of this name; nothing in each repetition where there is none.
pub(crate) fn samples(losses: &[LossSamples], name: &str) -> Vec<f64> {
    let repetitions = losses.first().map_or(0, |loss| loss.ns.len());
    let found = losses.iter().find(|loss| loss.name == name);
    found.map_or_else(|| vec![0.0; repetitions], |loss| loss.ns.clone())
}

/// The wall times of the repetitions: their losses, summed.
pub(crate) fn walls(losses: &[LossSamples]) -> Vec<f64> {
    let repetitions = losses.first().map_or(0, |loss| loss.ns.len());
    let wall = |index: usize| losses.iter().filter_map(|loss| loss.ns.get(index)).sum();
    (0..repetitions).map(wall).collect()
}

#[cfg(test)]
mod tests;
