//! Two profiles compared: single values, of which nothing says how much they vary.

use carnot_record::{Better, ProfileSummary};

use crate::comparison::Verdict;
use crate::operations::{moved_operations, of_profile};
use crate::records::{
    Mismatch, Mismatches, MovedLoss, RecordComparison, Row, direction, title, unbounded,
};

/// What forbids to compare two profiles: another machine or model.
pub fn profile_mismatches(baseline: &ProfileSummary, current: &ProfileSummary) -> Vec<Mismatch> {
    let mut found = Mismatches::default();
    found.machine(&baseline.machine, &current.machine);
    found.model(Some(&baseline.model), Some(&current.model));
    found.0
}

/// Compares wall times, phases and losses by the threshold alone: a change by less than `relevant` (0.1 for a tenth) does not matter.
pub fn compare_profiles(
    baseline: &ProfileSummary,
    current: &ProfileSummary,
    relevant: f64,
) -> RecordComparison {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let wall = single(
        "wall",
        "s",
        Better::Lower,
        [seconds(baseline.wall_ns), seconds(current.wall_ns)],
        relevant,
    );
    let phases = baseline.phases.iter().filter_map(|was| {
        let is = current.phases.iter().find(|phase| phase.name == was.name)?;
        Some(if was.tokens > 0 && is.tokens > 0 {
            single(
                &was.name,
                "tokens/s",
                Better::Higher,
                [was.tokens_per_s, is.tokens_per_s],
                relevant,
            )
        } else {
            single(
                &was.name,
                "s",
                Better::Lower,
                [seconds(was.ns), seconds(is.ns)],
                relevant,
            )
        })
    });
    RecordComparison {
        sites: Vec::new(),
        title: title("profile", Some(&baseline.model)),
        rows: std::iter::once(wall).chain(phases).collect(),
        losses: moved(baseline, current),
        operations: moved_operations(
            &of_profile(baseline),
            &of_profile(current),
            baseline.wall_ns as f64,
        ),
        warnings: vec![
            "one run each proves nothing: how much such runs vary is not in these files; `carnot compare --a --b` runs both in turns".to_owned(),
        ],
    }
}

fn single(name: &str, unit: &str, better: Better, [was, is]: [f64; 2], relevant: f64) -> Row {
    let change = if was == is { 0.0 } else { is / was - 1.0 };
    Row {
        metric: name.to_owned(),
        unit: unit.to_owned(),
        better,
        quantile: 0.5,
        counts: (1, 1),
        baseline: was,
        current: is,
        change: unbounded(change),
        p: None,
        verdict: if change.abs() <= relevant {
            Verdict::Same
        } else {
            direction(better, change)
        },
    }
}

fn moved(baseline: &ProfileSummary, current: &ProfileSummary) -> Vec<MovedLoss> {
    let of = |profile: &ProfileSummary, name: &str| -> f64 {
        if name == "floor" {
            return profile.floor_ns as f64;
        }
        let named = profile.losses.iter().filter(|loss| loss.name == name);
        named.map(|loss| loss.ns as f64).sum()
    };
    let names = baseline
        .losses
        .iter()
        .chain(&current.losses)
        .map(|loss| loss.name.as_str());
    let names: std::collections::BTreeSet<&str> = names.chain(["floor"]).collect();
    let loss = |name: &str| {
        let (was, is) = (of(baseline, name), of(current, name));
        MovedLoss {
            name: name.to_owned(),
            baseline_ns: was,
            current_ns: is,
            shift_ns: unbounded(is - was),
            share: (is - was) / baseline.wall_ns as f64,
        }
    };
    let mut moved: Vec<MovedLoss> = names.into_iter().map(loss).collect();
    moved.sort_by(|one, other| {
        other
            .shift_ns
            .estimate
            .abs()
            .total_cmp(&one.shift_ns.estimate.abs())
    });
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{LossSummary, PhaseSummary};

    fn profile(wall_ns: u64, decode: f64, wait: i64) -> ProfileSummary {
        ProfileSummary {
            wall_ns,
            floor_ns: 400,
            losses: vec![LossSummary {
                name: "wait".to_owned(),
                ns: wait,
                share: 0.0,
            }],
            phases: vec![PhaseSummary {
                name: "decode".to_owned(),
                tokens: 8,
                tokens_per_s: decode,
                ..PhaseSummary::default()
            }],
            ..ProfileSummary::default()
        }
    }

    #[test]
    fn single_runs_are_judged_by_the_threshold_alone() {
        let (baseline, current) = (profile(1000, 30.0, 600), profile(1500, 20.0, 1100));
        let found = compare_profiles(&baseline, &current, 0.1);
        let told: Vec<(&str, Verdict)> = found
            .rows
            .iter()
            .map(|row| (row.metric.as_str(), row.verdict))
            .collect();
        assert_eq!(told, [("wall", Verdict::Worse), ("decode", Verdict::Worse)]);
        assert_eq!(
            (found.losses[0].name.as_str(), found.losses[0].share),
            ("wait", 0.5)
        );
        assert!(
            found.warnings[0].starts_with("one run each proves nothing"),
            "{found:?}"
        );
        let back = compare_profiles(&current, &baseline, 0.1);
        assert!(
            back.rows.iter().all(|row| row.verdict == Verdict::Better),
            "{back:?}"
        );
        let within = compare_profiles(&baseline, &current, 0.6);
        assert!(
            within.rows.iter().all(|row| row.verdict == Verdict::Same),
            "{within:?}"
        );
        assert_eq!(profile_mismatches(&baseline, &current), []);
    }
}
