//! Records that two commands wrote in turns: what they measured, and their losses, pair by pair.

use std::collections::BTreeSet;

use carnot_record::{BenchRecord, Better};
use carnot_statistics::{Shift, adjusted, median, quantile, shift, signed_rank};

use crate::comparison::{Comparison, Verdict, compare};
use crate::records::{samples, walls};

/// Something that each run of a pair gives one value of.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredPairs {
    /// Such as `decode`, or `request p95`.
    pub name: String,
    /// Of the values.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// Of the first and of the second of each pair.
    pub values: Vec<(f64, f64)>,
}

impl MeasuredPairs {
    /// Compares them as [`compare`] does. `None` where something takes nothing, which has no ratio, or the pairs are too few.
    pub fn compared(&self, relevant: f64, error: f64) -> Option<Comparison> {
        let has_ratios = self.values.iter().all(|&(a, b)| a > 0.0 && b > 0.0);
        let comparison = has_ratios
            .then(|| compare(&self.values, relevant, error))
            .flatten()?;
        Some(comparison.where_better_is(self.better))
    }

    /// Compares all of `measured`. The first decides when to stop and stands for itself; of the others, which are told beside, any may differ by chance:
    /// they are called better or worse where their p values, adjusted for each other, are at most one in a hundred.
    pub fn compared_beside(
        measured: &[Self],
        relevant: f64,
        error: f64,
    ) -> Vec<Option<Comparison>> {
        let mut compared: Vec<Option<Comparison>> = measured
            .iter()
            .map(|one| one.compared(relevant, error))
            .collect();
        let others = measured.get(1..).unwrap_or_default();
        let p_values: Vec<f64> = others.iter().map(Self::probability).collect();
        for ((one, p), comparison) in others
            .iter()
            .zip(adjusted(&p_values))
            .zip(compared.iter_mut().skip(1))
        {
            let Some(comparison) = comparison else {
                continue;
            };
            if p > 0.01 && matches!(comparison.verdict, Verdict::Better | Verdict::Worse) {
                comparison.verdict = Verdict::Inconclusive {
                    wanted: 2 * one.values.len(),
                };
            }
        }
        compared
    }

    fn probability(&self) -> f64 {
        let differences = self.values.iter().map(|&(a, b)| {
            if a > 0.0 && b > 0.0 {
                (b / a).ln()
            } else {
                0.0
            }
        });
        signed_rank(&differences.collect::<Vec<f64>>())
    }
}

/// A loss, with the one command and with the other.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedLoss {
    /// As in the records.
    pub name: String,
    /// The median of the runs of the first, in nanoseconds of a repetition.
    pub a_ns: f64,
    /// The same of the second.
    pub b_ns: f64,
    /// By how much it is longer with the second, as a share of the first's wall time.
    pub shift: Shift,
}

/// Each quantile of each metric that all records have, in the order of the first record.
pub fn metrics_in_pairs(pairs: &[(&BenchRecord, &BenchRecord)]) -> Vec<MeasuredPairs> {
    let metrics = pairs.first().map_or(&[][..], |(a, _)| &a.metrics);
    let measured = metrics.iter().flat_map(|metric| {
        let of = |share: f64| -> Option<MeasuredPairs> {
            let value =
                |record: &BenchRecord| quantile(&record.metric(&metric.name)?.values, share);
            let values = pairs.iter().map(|(a, b)| Some((value(a)?, value(b)?)));
            let percentile = 100.0 * share;
            Some(MeasuredPairs {
                name: if share == 0.5 {
                    metric.name.clone()
                } else {
                    format!("{} p{percentile}", metric.name)
                },
                unit: metric.unit.clone(),
                better: metric.better,
                values: values.collect::<Option<_>>()?,
            })
        };
        metric
            .quantiles
            .iter()
            .filter_map(|share| of(*share))
            .collect::<Vec<_>>()
    });
    measured.collect()
}

/// The losses, the largest movement first, with intervals that miss with a probability of at most `error`. None where a record has none, or the pairs are too few.
pub fn losses_in_pairs(pairs: &[(&BenchRecord, &BenchRecord)], error: f64) -> Vec<PairedLoss> {
    let records = || pairs.iter().flat_map(|(a, b)| [a, b]);
    if records().any(|record| record.losses.is_empty()) {
        return Vec::new();
    }
    let names: BTreeSet<&String> = records()
        .flat_map(|record| &record.losses)
        .map(|loss| &loss.name)
        .collect();
    let loss = |name: &String| {
        let ns = |record: &BenchRecord| median(&samples(&record.losses, name));
        let a: Vec<f64> = pairs.iter().map(|(a, _)| ns(a)).collect::<Option<_>>()?;
        let b: Vec<f64> = pairs.iter().map(|(_, b)| ns(b)).collect::<Option<_>>()?;
        let walls = pairs.iter().map(|(a, _)| median(&walls(&a.losses)));
        let shares = walls
            .zip(a.iter().zip(&b))
            .map(|(wall, (a, b))| Some((b - a) / wall.filter(|wall| *wall > 0.0)?));
        Some(PairedLoss {
            name: name.clone(),
            a_ns: median(&a)?,
            b_ns: median(&b)?,
            shift: shift(&shares.collect::<Option<Vec<f64>>>()?, error)?,
        })
    };
    let mut losses: Vec<PairedLoss> = names.into_iter().filter_map(loss).collect();
    losses.sort_by(|one, other| {
        other
            .shift
            .estimate
            .abs()
            .total_cmp(&one.shift.estimate.abs())
    });
    losses
}

/// The loss that certainly grew by more than `relevant` of the first's wall time, where none certainly fell by as much; the largest of several. An error is made in any of
/// them with a probability of at most `error`.
///
/// The whole of a run changes with the speed of the machine from one start to the next, by more than what is looked for; a single loss of a few percent of it
/// changes by a few percent of these. So a loss can be certain while the whole is not.
pub fn certain_growth(
    pairs: &[(&BenchRecord, &BenchRecord)],
    relevant: f64,
    error: f64,
) -> Option<PairedLoss> {
    let names = pairs
        .iter()
        .flat_map(|(a, b)| [a, b])
        .flat_map(|record| &record.losses);
    let count = names.map(|loss| &loss.name).collect::<BTreeSet<_>>().len();
    let losses = losses_in_pairs(pairs, error / count.max(1) as f64);
    let fell: f64 = losses
        .iter()
        .filter(|loss| loss.shift.high < 0.0)
        .map(|loss| -loss.shift.estimate)
        .sum();
    losses
        .into_iter()
        .filter(|loss| loss.shift.low > 0.0 && loss.shift.estimate > relevant.max(fell))
        .max_by(|one, other| one.shift.estimate.total_cmp(&other.shift.estimate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{LossSamples, Metric};
    use carnot_statistics::Dice;

    fn record(dice: &mut Dice, slower: f64) -> BenchRecord {
        let mut noisy = |value: f64| value * (1.0 + 0.01 * dice.normal());
        let losses = [("floor", 60.0), ("kernel/matmul q8_0", 40.0 * slower)];
        BenchRecord {
            metrics: vec![
                Metric::repeated(
                    "decode",
                    "tokens/s",
                    Better::Higher,
                    vec![noisy(30.0 / slower)],
                ),
                Metric::latencies("request", (0..20).map(|_| noisy(slower)).collect()),
                Metric::repeated("load", "s", Better::Lower, vec![noisy(1.0)]),
            ],
            losses: losses
                .map(|(name, ns)| LossSamples {
                    name: name.to_owned(),
                    ns: vec![noisy(ns)],
                })
                .to_vec(),
            ..BenchRecord::default()
        }
    }

    #[test]
    fn what_runs_in_turns_is_compared_pair_by_pair() {
        let mut dice = Dice(1);
        let records: Vec<_> = (0..10)
            .map(|_| (record(&mut dice, 1.0), record(&mut dice, 1.2)))
            .collect();
        let pairs: Vec<_> = records.iter().map(|(a, b)| (a, b)).collect();
        let measured = metrics_in_pairs(&pairs);
        let names: Vec<&str> = measured.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            names,
            ["decode", "request", "request p95", "request p99", "load"]
        );
        let compared = MeasuredPairs::compared_beside(&measured, 0.05, 0.004);
        let verdicts: Vec<Verdict> = compared.iter().map(|one| one.unwrap().verdict).collect();
        assert_eq!(
            verdicts,
            [[Verdict::Worse; 4].as_slice(), &[Verdict::Same]].concat()
        );
        let losses = losses_in_pairs(&pairs, 0.004);
        assert_eq!(losses[0].name, "kernel/matmul q8_0");
        assert!(
            (0.06..0.1).contains(&losses[0].shift.estimate) && losses[0].shift.low > 0.0,
            "{losses:?}"
        );
    }

    #[test]
    fn one_of_many_that_differs_by_chance_is_not_called() {
        let flat = |name: &str, ratio: f64| MeasuredPairs {
            name: name.to_owned(),
            unit: "s".to_owned(),
            better: Better::Lower,
            values: (0..10)
                .map(|index| {
                    (
                        1.0,
                        ratio + 0.01 * f64::from(index % 2) * (2.0 - 2.0 * ratio).signum(),
                    )
                })
                .collect(),
        };
        // Ten of ten are larger in one of eight: two in 1,024, which among eight is nothing much.
        let mut measured = vec![flat("first", 1.2)];
        measured.extend((0..7).map(|_| flat("even", 1.0)));
        let alone = MeasuredPairs::compared_beside(
            &[&measured[..], &[flat("other", 1.2)]].concat(),
            0.05,
            0.004,
        );
        assert_eq!(
            alone[0].unwrap().verdict,
            Verdict::Worse,
            "the first stands for itself"
        );
        assert_eq!(
            alone[8].unwrap().verdict,
            Verdict::Inconclusive { wanted: 20 }
        );
    }

    #[test]
    fn what_a_record_lacks_is_not_compared() {
        let mut dice = Dice(2);
        let (a, mut b) = (record(&mut dice, 1.0), record(&mut dice, 1.0));
        b.metrics.remove(0);
        b.losses.clear();
        let names: Vec<String> = metrics_in_pairs(&[(&a, &b)])
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["request", "request p95", "request p99", "load"]);
        assert_eq!(losses_in_pairs(&[(&a, &b)], 0.5), []);
        assert_eq!(metrics_in_pairs(&[]), []);
    }

    /// Runs on a machine whose speed changes by a tenth from one start to the next.
    fn noisy_pairs(dice: &mut Dice, slower: f64) -> Vec<(BenchRecord, BenchRecord)> {
        let mut one = |slower: f64| {
            let speed = 1.0 + 0.1 * dice.normal();
            let mut loss = |name: &str, ns: f64| LossSamples {
                name: name.to_owned(),
                ns: vec![ns * speed * (1.0 + 0.02 * dice.normal())],
            };
            let losses = vec![
                loss("floor", 60.0),
                loss("kernel/matmul q8_0", 36.0),
                loss("kernel/rms_norm", 4.0 + 100.0 * (slower - 1.0)),
            ];
            let total = losses.iter().map(|loss| loss.ns[0]).sum();
            BenchRecord {
                metrics: vec![Metric::latencies("request", vec![total])],
                losses,
                ..BenchRecord::default()
            }
        };
        (0..20).map(|_| (one(1.0), one(slower))).collect()
    }

    #[test]
    fn a_loss_is_certain_where_the_whole_is_not() {
        let mut dice = Dice(7);
        let mut counts = [0; 3];
        let trials = 200;
        for _ in 0..trials {
            let of = |pairs: &[(BenchRecord, BenchRecord)]| {
                let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a, b)).collect();
                let whole = metrics_in_pairs(&pairs)[0].compared(0.01, 0.001).unwrap();
                let grown = certain_growth(&pairs, 0.01, 0.001);
                (whole.verdict, grown.map(|loss| loss.name))
            };
            let (whole, grown) = of(&noisy_pairs(&mut dice, 1.05));
            counts[0] += usize::from(whole == Verdict::Worse);
            counts[1] += usize::from(grown.as_deref() == Some("kernel/rms_norm"));
            counts[2] += usize::from(of(&noisy_pairs(&mut dice, 1.0)).1.is_some());
        }
        assert!(counts[0] < trials / 2, "the whole is too noisy: {counts:?}");
        assert!(counts[1] >= 95 * trials / 100, "{counts:?}");
        assert!(counts[2] <= 2, "alarms where nothing grew: {counts:?}");
    }
}
