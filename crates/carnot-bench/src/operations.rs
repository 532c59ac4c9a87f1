//! Operations of two runs side by side, all executions of each together: which moved most.

use std::collections::{BTreeMap, BTreeSet};

use carnot_record::ProfileSummary;

/// What an operation took in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OperationTimes {
    /// How often it ran.
    pub count: u64,
    /// The median of its executions; `None` where only sums are known.
    pub median_ns: Option<f64>,
    /// On the engine's thread, with the waiting that ended each execution.
    pub total_ns: f64,
    /// The mean of all threads' busy time.
    pub self_ns: f64,
}

/// An operation, then and now.
#[derive(Clone, Debug, PartialEq)]
pub struct MovedOperation {
    /// Its name.
    pub name: String,
    /// It took; `None` where it did not run.
    pub baseline: Option<OperationTimes>,
    /// It takes.
    pub current: Option<OperationTimes>,
    /// By how much it is longer in all, over the wall time of the baseline.
    pub share: f64,
}

/// The operations of two runs by their names, the largest movement first.
pub fn moved_operations(
    baseline: &BTreeMap<String, OperationTimes>,
    current: &BTreeMap<String, OperationTimes>,
    baseline_wall_ns: f64,
) -> Vec<MovedOperation> {
    let names: BTreeSet<&String> = baseline.keys().chain(current.keys()).collect();
    let operation = |name: &String| {
        let (was, is) = (baseline.get(name).copied(), current.get(name).copied());
        let total = |times: Option<OperationTimes>| times.unwrap_or_default().total_ns;
        MovedOperation {
            name: name.clone(),
            baseline: was,
            current: is,
            share: (total(is) - total(was)) / baseline_wall_ns,
        }
    };
    let mut moved: Vec<MovedOperation> = names.into_iter().map(operation).collect();
    moved.sort_by(|one, other| other.share.abs().total_cmp(&one.share.abs()));
    moved
}

/// The operations of a profile, those of all layers together.
pub(crate) fn of_profile(profile: &ProfileSummary) -> BTreeMap<String, OperationTimes> {
    let mut found: BTreeMap<String, OperationTimes> = BTreeMap::new();
    for operation in &profile.operations {
        let times = found.entry(operation.name.clone()).or_default();
        times.count += operation.count;
        times.total_ns += operation.total_ns as f64;
        times.self_ns += operation.self_ns as f64;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::OperationSummary;

    #[test]
    fn layers_are_summed_and_the_largest_movement_is_first() {
        let operation = |name: &str, layer, total_ns| OperationSummary {
            name: name.to_owned(),
            layer: Some(layer),
            count: 10,
            total_ns,
            self_ns: total_ns / 2,
            ..OperationSummary::default()
        };
        let profile = |matmul, others: &[OperationSummary]| ProfileSummary {
            operations: [
                &[
                    operation("matmul", 0, matmul),
                    operation("matmul", 1, matmul),
                ],
                others,
            ]
            .concat(),
            ..ProfileSummary::default()
        };
        let was = of_profile(&profile(100, &[operation("rope", 0, 30)]));
        let is = of_profile(&profile(95, &[operation("softmax", 0, 20)]));
        let moved = moved_operations(&was, &is, 1000.0);
        let told: Vec<(&str, f64)> = moved
            .iter()
            .map(|one| (one.name.as_str(), one.share))
            .collect();
        assert_eq!(
            told,
            [("rope", -0.03), ("softmax", 0.02), ("matmul", -0.01)]
        );
        let matmul = moved[2].baseline.unwrap();
        assert_eq!(
            (matmul.count, matmul.total_ns, matmul.self_ns),
            (20, 200.0, 100.0)
        );
        assert_eq!((moved[0].current, moved[1].baseline), (None, None));
    }
}
