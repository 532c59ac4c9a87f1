//! Two traces compared: each is analysed, and the times of its steps and of its operations' executions are what is compared.
//!
//! A trace is one run, but of many executions; so it becomes a record whose metrics are the times of executions, and everything that holds for
//! records (intervals, many tests at once) holds for it. Executions that follow each other share a slow moment of the machine: where they do, the medians of batches of them
//! are what is compared, or a moment would be called a difference. Losses are sums over the run, of which there is one each.

use std::collections::{BTreeMap, BTreeSet};

use carnot_analyze::{Analysis, Durations, RunInfo, analyze, durations};
use carnot_bench::{
    OperationTimes, RecordComparison, Verdict, batch_medians, compare_records, median,
    moved_operations,
};
use carnot_record::{BenchRecord, Better, LossSamples, MachineProfile, Metric, Trace, TracedRun};

/// An operation that takes less of both runs has no row of its own: a change of it by the threshold is less than any difference between two starts.
const LEAST_SHARE: f64 = 0.01;
const NO_CEILINGS: &str = "the traces do not say what the machine allows: losses are told without a floor, and kernels have all of their time";
const ONE_RUN: &str = "one run each: what differs from one start of a program to the next is in neither trace; `carnot compare --a --b` runs both in turns";

/// A trace, analysed.
pub struct Told {
    pub record: BenchRecord,
    pub operations: BTreeMap<String, OperationTimes>,
    /// The durations of all executions by the names of the metrics, in seconds.
    pub executions: BTreeMap<String, Vec<f64>>,
    /// Whether losses have a floor.
    pub has_ceilings: bool,
}

/// Both traces. Where they are of one machine, the floors of both are told by the ceilings of the baseline: what differs then is work, and not how fast the
/// machine was when it was measured.
pub fn told(was: &Trace, is: &Trace) -> (Told, Told) {
    let same = match (&was.run, &is.run) {
        (Some(was), Some(is)) => {
            was.machine.cpu.model == is.machine.cpu.model && was.threads == is.threads
        }
        _ => false,
    };
    let own = |trace: &Trace| trace.run.as_ref().map(|run| run.machine.clone());
    let (of_was, of_is) = (own(was), if same { own(was) } else { own(is) });
    let (was, is) = (Analysed::of(was, of_was), Analysed::of(is, of_is));
    let relevant: BTreeSet<String> = [&was, &is]
        .into_iter()
        .flat_map(Analysed::relevant)
        .collect();
    (was.told(&relevant), is.told(&relevant))
}

/// A change by less than `relevant` does not matter.
pub fn compared(was: &Told, is: &Told, relevant: f64) -> RecordComparison {
    let mut found = compare_records(&[(&was.record, &is.record)], relevant).remove(0);
    for row in &mut found.rows {
        let of = |told: &Told| {
            told.executions
                .get(&row.metric)
                .cloned()
                .unwrap_or_default()
        };
        let (was, is) = (of(was), of(is));
        (row.baseline, row.current) = (
            median(&was).unwrap_or(row.baseline),
            median(&is).unwrap_or(row.current),
        );
        // More executions are wanted, and not more batches of them.
        if let Verdict::Inconclusive { wanted } = &mut row.verdict {
            let executions = was.len().min(is.len());
            *wanted = wanted.saturating_mul(executions.div_ceil(row.counts.0.min(row.counts.1)));
        }
        row.counts = (was.len(), is.len());
    }
    let wall_ns: f64 = was.record.losses.iter().flat_map(|loss| &loss.ns).sum();
    found.operations = moved_operations(&was.operations, &is.operations, wall_ns);
    if !was.has_ceilings || !is.has_ceilings {
        found.warnings.push(NO_CEILINGS.to_owned());
    }
    found.warnings.push(ONE_RUN.to_owned());
    found
}

struct Analysed<'a> {
    run: Option<&'a TracedRun>,
    analysis: Analysis,
    durations: Vec<Durations>,
    has_ceilings: bool,
}

impl<'a> Analysed<'a> {
    fn of(trace: &'a Trace, ceilings: Option<MachineProfile>) -> Self {
        let run = trace.run.as_ref();
        let info = RunInfo {
            model: run.map(|run| run.model.clone()).unwrap_or_default(),
            threads: run.map_or(trace.threads.len() as u32, |run| run.threads),
            ..RunInfo::default()
        };
        let has_ceilings = ceilings.is_some();
        Self {
            run,
            analysis: analyze(trace, &ceilings.unwrap_or_default(), &info),
            durations: durations(trace, info.wall),
            has_ceilings,
        }
    }

    /// The names of what has a row.
    fn relevant(&self) -> impl Iterator<Item = String> {
        let least = LEAST_SHARE * self.analysis.total.wall_ns as f64;
        let is_relevant =
            move |one: &&Durations| one.operation.is_none() || one.total_ns() as f64 >= least;
        self.durations
            .iter()
            .filter(is_relevant)
            .map(Durations::name)
    }

    fn told(self, relevant: &BTreeSet<String>) -> Told {
        let summary = self.analysis.summary();
        let mut machine = summary.machine;
        if machine.cpu.is_empty() {
            "not told".clone_into(&mut machine.cpu);
        }
        let floor = self
            .has_ceilings
            .then(|| ("floor".to_owned(), summary.floor_ns as f64));
        let losses = summary.losses.into_iter();
        let losses = losses.map(|loss| (loss.name, loss.ns as f64));
        // Without ceilings every floor is too low; that is said once.
        let warnings = summary.warnings.into_iter();
        let warnings =
            warnings.filter(|warning| self.has_ceilings || !warning.contains("floors are too low"));
        let rows = self.durations.iter().map(|one| (one.name(), one));
        let rows = rows.filter(|(name, _)| relevant.contains(name));
        let seconds = rows.map(|(name, one)| {
            let seconds: Vec<f64> = one.ns.iter().map(|ns| *ns as f64 / 1e9).collect();
            (name, seconds)
        });
        let executions: Vec<(String, Vec<f64>)> = seconds.collect();
        let metrics = executions.iter().map(|(name, seconds)| {
            Metric::repeated(name, "s", Better::Lower, batch_medians(seconds))
        });
        Told {
            record: BenchRecord {
                suite: "trace".to_owned(),
                machine,
                model: self.run.map(|run| run.model.clone()),
                conditions: conditions(&self.analysis),
                metrics: metrics.collect(),
                losses: floor
                    .into_iter()
                    .chain(losses)
                    .map(|(name, ns)| LossSamples { name, ns: vec![ns] })
                    .collect(),
                warnings: warnings.collect(),
                ..BenchRecord::default()
            },
            operations: operations(&self.analysis),
            executions: executions.into_iter().collect(),
            has_ceilings: self.has_ceilings,
        }
    }
}

/// Executions of other numbers of tokens take other times.
fn conditions(analysis: &Analysis) -> BTreeMap<String, String> {
    let phases = analysis.phases.iter().filter(|phase| phase.counted);
    phases
        .map(|phase| {
            let told = format!("{} tokens, repetitions: {}", phase.tokens, phase.count);
            (phase.name.clone(), told)
        })
        .collect()
}

fn operations(analysis: &Analysis) -> BTreeMap<String, OperationTimes> {
    let groups = analysis.operations_by_phase.iter();
    groups
        .map(|group| {
            let phase = group.phase.as_deref().unwrap_or_default();
            let times = OperationTimes {
                count: group.times.count,
                median_ns: Some(group.times.p50_ns as f64),
                total_ns: group.times.total_ns as f64,
                self_ns: group.busy_ns as f64,
            };
            (format!("{phase} {}", group.name), times)
        })
        .collect()
}
