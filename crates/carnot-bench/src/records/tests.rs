//! Records compared: what is found, what is not, and what is refused.

use super::*;
use carnot_statistics::Dice;

/// A record of requests, a rate, a share, and losses; `slower` stretches all times, `tail` those of one request in ten.
fn record(dice: &mut Dice, count: usize, slower: f64, tail: f64) -> BenchRecord {
    let latencies: Vec<f64> = (0..count)
        .map(|_| {
            let spike = if dice.uniform() < 0.1 { tail } else { 1.0 };
            slower * spike * (0.05 * dice.normal()).exp()
        })
        .collect();
    let mut repeated = |size: usize, scale: f64| -> Vec<f64> {
        (0..size)
            .map(|_| scale * (0.03 * dice.normal()).exp())
            .collect()
    };
    let decode = repeated(20, 30.0 / slower);
    let load = repeated(10, 1.0);
    let losses = [
        ("floor", 50.0),
        ("kernel/matmul q8_0", 30.0 * (1.0 + 10.0 * (slower - 1.0))),
        ("wait", 5.0),
    ];
    BenchRecord {
        suite: "inference".to_owned(),
        metrics: vec![
            Metric::latencies("request", latencies.clone()),
            Metric::repeated("decode", "tokens/s", Better::Higher, decode),
            Metric::repeated("load", "s", Better::Lower, load),
            Metric::repeated(
                "slow",
                "share",
                Better::Lower,
                latencies
                    .iter()
                    .map(|&s| f64::from(u8::from(s > 1.3)))
                    .collect(),
            ),
        ],
        losses: losses
            .map(|(name, ns)| LossSamples {
                name: name.to_owned(),
                ns: repeated(20, ns),
            })
            .to_vec(),
        ..BenchRecord::default()
    }
}

fn compare(baseline: &BenchRecord, current: &BenchRecord, relevant: f64) -> RecordComparison {
    compare_records(&[(baseline, current)], relevant).remove(0)
}

fn row<'a>(comparison: &'a RecordComparison, metric: &str, quantile: f64) -> &'a Row {
    let is_it = |row: &&Row| row.metric == metric && row.quantile == quantile;
    comparison.rows.iter().find(is_it).unwrap()
}

#[test]
fn the_same_against_itself_is_seldom_called_different() {
    let mut dice = Dice(1);
    let (trials, mut alarms) = (1000, 0);
    for _ in 0..trials {
        let (baseline, current) = (
            record(&mut dice, 200, 1.0, 1.5),
            record(&mut dice, 200, 1.0, 1.5),
        );
        // However small: what holds alarms back is the statistics, not the threshold.
        let rows = compare(&baseline, &current, 1e-6).rows;
        let called = |row: &Row| matches!(row.verdict, Verdict::Better | Verdict::Worse);
        alarms += usize::from(rows.iter().any(called));
    }
    // One in a hundred, and three deviations of such a count.
    assert!(alarms <= 10 + 9, "{alarms} of {trials}");
}

#[test]
fn what_is_slower_is_found_in_the_direction_of_each_metric() {
    let (mut dice, mut found) = (Dice(2), 0);
    for _ in 0..100 {
        let (baseline, current) = (
            record(&mut dice, 200, 1.0, 1.5),
            record(&mut dice, 200, 1.15, 1.5),
        );
        let there = compare(&baseline, &current, 0.1);
        let back = compare(&current, &baseline, 0.1);
        let is = |comparison: &RecordComparison, metric: &str, verdict: Verdict| {
            row(comparison, metric, 0.5).verdict == verdict
        };
        found += usize::from(
            ["request", "decode"].iter().all(|metric| {
                is(&there, metric, Verdict::Worse) && is(&back, metric, Verdict::Better)
            }) && is(&there, "load", Verdict::Same)
                && there.losses[0].name == "kernel/matmul q8_0"
                && (0.3..0.8).contains(&there.losses[0].share)
                && there.losses[0].shift_ns.low > 0.0,
        );
    }
    assert!(found >= 90, "{found}");
}

#[test]
fn a_longer_tail_is_found_where_the_median_stays() {
    let (mut dice, mut found) = (Dice(3), 0);
    for _ in 0..50 {
        let (baseline, current) = (
            record(&mut dice, 1000, 1.0, 1.5),
            record(&mut dice, 1000, 1.0, 2.5),
        );
        let compared = compare(&baseline, &current, 0.1);
        let (middle, tail) = (
            row(&compared, "request", 0.5),
            row(&compared, "request", 0.95),
        );
        found += usize::from(middle.verdict == Verdict::Same && tail.verdict == Verdict::Worse);
    }
    assert!(found >= 45, "{found}");
}

#[test]
fn a_certain_change_within_the_threshold_is_no_regression() {
    let mut dice = Dice(4);
    let (baseline, current) = (
        record(&mut dice, 400, 1.0, 1.0),
        record(&mut dice, 400, 1.05, 1.0),
    );
    assert_eq!(
        row(&compare(&baseline, &current, 0.1), "request", 0.5).verdict,
        Verdict::Same
    );
    assert_eq!(
        row(&compare(&baseline, &current, 0.01), "request", 0.5).verdict,
        Verdict::Worse
    );
}

#[test]
fn few_values_say_how_many_it_takes() {
    let of = |values: &[f64]| BenchRecord {
        metrics: vec![Metric::repeated(
            "load",
            "s",
            Better::Lower,
            values.to_vec(),
        )],
        ..BenchRecord::default()
    };
    let wanted = |was: &[f64], is: &[f64]| match compare(&of(was), &of(is), 0.1).rows[0].verdict {
        Verdict::Inconclusive { wanted } => wanted,
        other => panic!("{other:?}"),
    };
    // Two of the 252 orders of ten values are the most uneven.
    assert_eq!(wanted(&[1.0; 2], &[9.0; 2]), 5);
    assert_eq!(
        wanted(&[1.0, 2.0, 3.0], &[9.0, 8.0, 7.0]),
        6,
        "and more than there are"
    );
    let five = compare(
        &of(&[1.0, 1.1, 1.2, 1.3, 1.4]),
        &of(&[2.0, 2.1, 2.2, 2.3, 2.4]),
        0.1,
    );
    assert_eq!(five.rows[0].verdict, Verdict::Worse);
    assert_eq!(
        compare(&of(&[7.0]), &of(&[7.0]), 0.1).rows[0].verdict,
        Verdict::Same
    );
    assert_eq!(compare(&of(&[]), &of(&[7.0]), 0.1).rows, []);
}

#[test]
fn out_of_nothing_comes_infinitely_more() {
    let of = |value: f64| BenchRecord {
        metrics: vec![Metric::repeated(
            "failures",
            "share",
            Better::Lower,
            vec![value; 20],
        )],
        ..BenchRecord::default()
    };
    let found = compare(&of(0.0), &of(0.1), 0.1);
    assert_eq!(
        (found.rows[0].change.estimate, found.rows[0].verdict),
        (f64::INFINITY, Verdict::Worse)
    );
    let same = compare(&of(0.0), &of(0.0), 0.1);
    assert_eq!(
        (same.rows[0].change.high, same.rows[0].verdict),
        (0.0, Verdict::Same)
    );
}

#[test]
fn failures_that_no_median_shows_are_not_called_the_same() {
    let of = |failures: usize| {
        let values = (0..200)
            .map(|index| f64::from(u8::from(index < failures)))
            .collect();
        BenchRecord {
            metrics: vec![Metric::repeated("failures", "share", Better::Lower, values)],
            ..BenchRecord::default()
        }
    };
    let found = compare(&of(0), &of(60), 0.1).rows.remove(0);
    assert!(
        found.p.unwrap() < 1e-6 && matches!(found.verdict, Verdict::Inconclusive { .. }),
        "{found:?}"
    );
    assert_eq!(compare(&of(5), &of(6), 0.1).rows[0].verdict, Verdict::Same);
}

#[test]
fn what_differs_besides_is_named() {
    let baseline = BenchRecord {
        suite: "inference".to_owned(),
        conditions: [("tokens".to_owned(), "64".to_owned())].into(),
        ..BenchRecord::default()
    };
    assert_eq!(mismatches(&baseline, &baseline), []);
    let mut other = baseline.clone();
    other.machine.threads = 4;
    other.model = Some(ModelSummary::default());
    other.conditions = [("prompt".to_owned(), "8".to_owned())].into();
    let what: Vec<String> = mismatches(&baseline, &other)
        .into_iter()
        .map(|found| found.what)
        .collect();
    assert_eq!(
        what,
        [
            "the number of threads",
            "the model",
            "the condition prompt",
            "the condition tokens"
        ]
    );
}

#[test]
fn a_loss_that_was_not_there_moved_by_all_it_is() {
    let of = |name: &str, ns: f64| LossSamples {
        name: name.to_owned(),
        ns: vec![ns; 10],
    };
    let (baseline, current) = (
        [of("floor", 80.0), of("wait", 20.0)],
        [of("floor", 80.0), of("probe", 50.0)],
    );
    let found = moved(&baseline, &current);
    let told: Vec<(&str, f64, f64)> = found
        .iter()
        .map(|loss| (loss.name.as_str(), loss.shift_ns.estimate, loss.share))
        .collect();
    assert_eq!(
        told,
        [
            ("probe", 50.0, 0.5),
            ("wait", -20.0, -0.2),
            ("floor", 0.0, 0.0)
        ]
    );
}
