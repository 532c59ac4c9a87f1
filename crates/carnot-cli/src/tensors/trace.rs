//! Runs of a tensor model as a trace: a phase for each, a step in it, and in that what the runtime did node by node, or the whole.
//!
//! ONNX Runtime's profiler has a clock of its own, in whole microseconds. Each of its runs lies within one that was timed here, which
//! holds the two clocks together to within what a run takes more here than there.

use std::collections::HashMap;

use anyhow::ensure;
use carnot_analyze::{NodeInfo, NodeWork};
use carnot_onnx::{NodeRun, RuntimeProfile};
use carnot_record::{ProbeCost, Site, Span, SpanKind, Thread, Trace};

use super::nodes::{is_control_flow, site_name};
use super::runs::Interval;

/// The trace of runs that were timed as a whole. `work` is what a run has to do at least.
pub fn of_runs(load: Interval, runs: &[Interval], work: &NodeWork) -> Trace {
    let mut building = Building::new(load);
    let whole = building.add(site("graph", SpanKind::Operation));
    for run in runs {
        let step = building.run(*run);
        let span = building.span(whole, Some(step), *run);
        span.with(work);
    }
    building.finish(ProbeCost::default())
}

/// The trace of runs whose nodes ONNX Runtime's profiler timed: the last of its runs are those of `runs`. `cost_ns` is what recording a
/// node cost.
pub fn of_nodes(
    load: Interval,
    runs: &[Interval],
    profile: &RuntimeProfile,
    nodes: &[NodeInfo],
    cost_ns: f64,
) -> anyhow::Result<Trace> {
    let Some(first) = profile.runs.len().checked_sub(runs.len()) else {
        anyhow::bail!(
            "ONNX Runtime's profiler recorded {} of {} runs: record fewer of them with --iterations",
            profile.runs.len(),
            runs.len()
        );
    };
    let mut building = Building::new(load);
    let runtime = building.add(site("runtime", SpanKind::Engine));
    let known: HashMap<&str, &NodeInfo> = nodes
        .iter()
        .map(|node| (node.site.as_str(), node))
        .collect();
    let offset = offset(runs, &profile.runs[first..]);
    for (place, run) in runs.iter().enumerate() {
        let (start_ns, duration_ns) = &profile.runs[first + place];
        let own = nodes_of(profile, first + place);
        let told = (*start_ns, start_ns + duration_ns);
        let clock = Clock::of(offset, *run, told);
        let step = building.run(*run);
        let last = own.iter().map(|node| node.start_ns + node.duration_ns);
        let last = last.max().unwrap_or(0).max(told.1);
        let around = building.index();
        building.span(runtime, Some(step), clock.interval(told.0, last));
        building.nodes(own, &known, (around, &clock));
    }
    let cost = ProbeCost {
        // Nothing else records while a run is timed; a cost of 0 would mean that it was not measured.
        recorded_span_ns: cost_ns.max(0.001),
        ..ProbeCost::default()
    };
    ensure!(
        u32::try_from(building.trace.spans.len()).is_ok(),
        "too many nodes ran: record fewer runs with --iterations"
    );
    Ok(building.finish(cost))
}

/// What a profile says of one of its runs.
pub fn one_run(profile: &RuntimeProfile, place: usize) -> RuntimeProfile {
    RuntimeProfile {
        runs: vec![profile.runs[place]],
        nodes: nodes_of(profile, place).to_vec(),
    }
}

/// The nodes of a run: those from its beginning to a microsecond behind its end, or to where the next begins.
fn nodes_of(profile: &RuntimeProfile, place: usize) -> &[NodeRun] {
    let (start_ns, duration_ns) = profile.runs[place];
    let next = profile.runs.get(place + 1).map_or(u64::MAX, |run| run.0);
    let end_ns = next.min(start_ns + duration_ns + MICROSECOND + 1);
    let first = profile
        .nodes
        .partition_point(|node| node.start_ns < start_ns);
    let behind = profile.nodes.partition_point(|node| node.start_ns < end_ns);
    &profile.nodes[first..behind.max(first)]
}

/// The profiler counts whole ones.
const MICROSECOND: u64 = 1000;

/// What is added to the profiler's times: in the middle of what fits all runs, or of what fits most nearly.
fn offset(runs: &[Interval], told: &[(u64, u64)]) -> i64 {
    let pairs = || runs.iter().zip(told);
    let least = pairs().map(|(run, told)| run.start_ns as i64 - told.0 as i64);
    let most = pairs().map(|(run, told)| run.end_ns as i64 - (told.0 + told.1) as i64);
    let (least, most) = (least.max().unwrap_or(0), most.min().unwrap_or(0));
    i64::midpoint(least, most)
}

/// From the profiler's clock to ours, for one run.
struct Clock {
    offset: i64,
    run: Interval,
}

impl Clock {
    /// The common offset, moved as little as puts the run into its interval.
    fn of(offset: i64, run: Interval, told: (u64, u64)) -> Self {
        let least = run.start_ns as i64 - told.0 as i64;
        let most = run.end_ns as i64 - told.1 as i64;
        let offset = if least <= most {
            offset.clamp(least, most)
        } else {
            least
        };
        Self { offset, run }
    }

    fn interval(&self, start_ns: u64, end_ns: u64) -> Interval {
        let at = |ns: u64| {
            let moved = (ns as i64).saturating_add(self.offset).max(0);
            moved
                .cast_unsigned()
                .clamp(self.run.start_ns, self.run.end_ns)
        };
        Interval {
            start_ns: at(start_ns),
            end_ns: at(end_ns),
        }
    }
}

fn site(name: &str, kind: SpanKind) -> Site {
    Site {
        name: name.to_owned(),
        kind,
        ..Site::default()
    }
}

struct Building {
    trace: Trace,
    sites: HashMap<(String, SpanKind), u32>,
    run: u32,
    step: u32,
}

impl Building {
    fn new(load: Interval) -> Self {
        let mut building = Self {
            trace: Trace {
                threads: vec![Thread {
                    name: "main".to_owned(),
                    ..Thread::default()
                }],
                ..Trace::default()
            },
            sites: HashMap::new(),
            run: 0,
            step: 0,
        };
        let phase = building.add(site("load", SpanKind::Phase));
        building.run = building.add(site("run", SpanKind::Phase));
        building.step = building.add(site("step", SpanKind::Step));
        building.span(phase, None, load);
        building
    }

    /// The place of a site, which is added where it is new.
    fn add(&mut self, site: Site) -> u32 {
        let sites = &mut self.trace.sites;
        let key = (site.name.clone(), site.kind);
        *self.sites.entry(key).or_insert_with(|| {
            sites.push(site);
            sites.len() as u32 - 1
        })
    }

    fn index(&self) -> u32 {
        self.trace.spans.len() as u32
    }

    fn span(&mut self, site: u32, parent: Option<u32>, at: Interval) -> &mut Span {
        self.trace.duration_ns = self.trace.duration_ns.max(at.end_ns);
        self.trace.spans.push(Span {
            site,
            parent,
            start_ns: at.start_ns,
            end_ns: at.end_ns.max(at.start_ns),
            ..Span::default()
        });
        self.trace.spans.last_mut().expect("it was pushed just now")
    }

    /// A run's phase and the step in it; the place of the step.
    fn run(&mut self, at: Interval) -> u32 {
        let phase = self.index();
        self.span(self.run, None, at);
        let step = self.index();
        self.span(self.step, Some(phase), at);
        step
    }

    /// The nodes of a run. Only those that run graphs of their own have nodes within them.
    fn nodes(
        &mut self,
        runs: &[NodeRun],
        known: &HashMap<&str, &NodeInfo>,
        (around, clock): (u32, &Clock),
    ) {
        let mut open: Vec<(u32, u64)> = vec![(around, u64::MAX)];
        let mut runs: Vec<&NodeRun> = runs.iter().collect();
        runs.sort_by_key(|run| (run.start_ns, !is_control_flow(&run.operator)));
        for run in runs {
            let end_ns = run.start_ns + run.duration_ns;
            while open.len() > 1 && open.last().is_some_and(|(_, end)| *end < end_ns) {
                open.pop();
            }
            let name = site_name(run);
            let is_open = is_control_flow(&run.operator);
            let kind = if is_open {
                SpanKind::Other
            } else {
                SpanKind::Operation
            };
            let site = self.add(site(&name, kind));
            let parent = open.last().map(|one| one.0);
            let index = self.index();
            let info = known.get(name.as_str());
            let span = self.span(site, parent, clock.interval(run.start_ns, end_ns));
            if let Some(work) = info.and_then(|info| info.work.as_ref()) {
                span.with(work);
            }
            if is_open {
                open.push((index, end_ns));
            }
        }
    }

    fn finish(mut self, cost: ProbeCost) -> Trace {
        let events = self.trace.spans.len() as u64;
        self.trace.cost = ProbeCost {
            events,
            total_ns: (cost.recorded_span_ns * events as f64) as u64,
            ..cost
        };
        self.trace
    }
}

/// A span that says what was done in it.
trait With {
    fn with(&mut self, work: &NodeWork);
}

impl With for Span {
    fn with(&mut self, work: &NodeWork) {
        self.flops = work.flops;
        self.bytes = work.bytes;
        self.working_set_bytes = work.working_set_bytes;
        self.arithmetic = work.arithmetic;
    }
}

#[cfg(test)]
mod tests {
    use carnot_record::Record;

    use super::*;

    fn interval(start_ns: u64, end_ns: u64) -> Interval {
        Interval { start_ns, end_ns }
    }

    fn node(name: &str, operator: &str, start_us: u64, duration_us: u64) -> NodeRun {
        NodeRun {
            name: name.to_owned(),
            operator: operator.to_owned(),
            start_ns: 1000 * start_us,
            duration_ns: 1000 * duration_us,
            ..NodeRun::default()
        }
    }

    /// Of each span its name, its parent's, and when it was, in microseconds.
    fn rows(trace: &Trace) -> Vec<(String, Option<String>, u64, u64)> {
        let name = |span: &Span| trace.site(span).name.clone();
        let row = |span: &Span| {
            let parent = span
                .parent
                .map(|parent| name(&trace.spans[parent as usize]));
            (name(span), parent, span.start_ns / 1000, span.end_ns / 1000)
        };
        trace.spans.iter().map(row).collect()
    }

    #[test]
    fn nodes_lie_in_the_runs_that_were_timed_here() {
        // The first run of the profile is a warm-up; its clock is 1 ms behind.
        let profile = RuntimeProfile {
            runs: vec![(10_000, 5_000), (100_000, 20_000), (200_000, 30_000)],
            nodes: vec![
                node("a", "Conv", 11, 2),
                node("a", "Conv", 102, 5),
                node("l", "Loop", 110, 8),
                node("b", "Relu", 112, 3),
                node("a", "Conv", 203, 9),
            ],
        };
        let runs = [
            interval(1_099_000, 1_122_000),
            interval(1_198_000, 1_231_000),
        ];
        let infos = [NodeInfo {
            site: "Conv · a".to_owned(),
            work: Some(NodeWork {
                flops: 10,
                ..NodeWork::default()
            }),
            ..NodeInfo::default()
        }];
        let trace = of_nodes(interval(0, 1000), &runs, &profile, &infos, 500.0).expect("they fit");
        trace.validate().expect("it is a trace");
        let row = |name: &str, parent: &str, start, end| {
            (name.to_owned(), Some(parent.to_owned()), start, end)
        };
        let found = rows(&trace);
        assert_eq!(found[0], ("load".to_owned(), None, 0, 1));
        assert_eq!(found[1], ("run".to_owned(), None, 1_099, 1_122));
        assert_eq!(
            found[2..7],
            [
                row("step", "run", 1_099, 1_122),
                row("runtime", "step", 1_100, 1_120),
                row("Conv · a", "runtime", 1_102, 1_107),
                row("Loop · l", "runtime", 1_110, 1_118),
                row("Relu · b", "Loop · l", 1_112, 1_115),
            ]
        );
        assert_eq!(
            found.last(),
            Some(&row("Conv · a", "runtime", 1_203, 1_212))
        );
        let convolution = trace.spans[4];
        assert_eq!((convolution.flops, trace.spans[6].flops), (10, 0));
        let few = of_nodes(interval(0, 1), &[runs[0]; 4], &profile, &infos, 0.0);
        assert!(few.expect_err("3 of 4").to_string().contains("3 of 4"));
    }

    #[test]
    fn a_clock_that_does_not_fit_is_held_to_the_run() {
        let clock = Clock::of(50, interval(1_000, 1_900), (900, 2_000));
        assert_eq!(clock.interval(900, 2_000), interval(1_000, 1_900));
    }

    #[test]
    fn a_whole_that_was_timed_is_one_operation() {
        let work = NodeWork {
            flops: 5,
            bytes: 6,
            ..NodeWork::default()
        };
        let trace = of_runs(interval(0, 10), &[interval(10_000, 30_000)], &work);
        assert_eq!(rows(&trace)[3].0, "graph");
        assert_eq!((trace.spans[3].flops, trace.spans[3].bytes), (5, 6));
    }
}
