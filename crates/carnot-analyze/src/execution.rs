//! From spans to executions: what the engine's thread did in each phase, operation by operation.
//!
//! The engine's thread tells the time. An operation's *region* is its span there plus the wait that ends it; its *busy*
//! time is the mean over the threads that took part. Everything in a phase that is in no region is the engine's, or
//! the probe's own.

use std::collections::HashMap;

use carnot_record::{MachineProfile, SpanKind, Trace};

use crate::{floor::Floor, recording::Recording, span_tree::SpanTree};

/// One run of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    /// The span on the engine's thread.
    pub span: u32,
    /// Its time and the wait's that ends it.
    pub region_ns: u64,
    /// The mean of the threads' time; at most `region_ns`.
    pub busy_ns: u64,
    /// Both sides of the floor.
    pub floor: Floor,
    /// The floor in whole nanoseconds.
    pub floor_ns: u64,
    /// Whether a wait ended it.
    pub waited: bool,
}

/// One step: a forward pass with its sampling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub start_ns: u64,
    pub end_ns: u64,
    pub tokens: u64,
}

/// What the engine's thread did in one span of time, all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'a> {
    pub name: &'a str,
    pub start_ns: u64,
    pub end_ns: u64,
    /// The phase's own count of tokens, or 0.
    pub tokens: u64,
    pub executions: Vec<Execution>,
    pub steps: Vec<Step>,
    /// Time between operations, by engine span: nanoseconds and how many spans.
    pub engine: HashMap<&'a str, (u64, u64)>,
    /// Waits that belong to no operation.
    pub stray_wait_ns: u64,
    pub probe_ns: u64,
}

/// The engine time that no engine span names.
pub(crate) const OTHER: &str = "other";

/// The phases of the engine's thread; where a trace has none, its outermost spans.
pub(crate) fn scopes<'a>(
    trace: &'a Trace,
    tree: &SpanTree,
    machine: &MachineProfile,
    threads: u32,
) -> Vec<Scope<'a>> {
    let walk = Walk {
        trace,
        tree,
        machine,
        threads,
        busy: busy_by_sequence(trace, tree),
        recording: Recording::new(trace, tree.main_thread()),
    };
    let kind = |span: u32| trace.site(&trace.spans[span as usize]).kind;
    let on_main = |span: &u32| trace.spans[*span as usize].thread == tree.main_thread();
    let phases = outermost_phases(tree, on_main, |span| kind(span) == SpanKind::Phase);
    if phases.is_empty() {
        return tree
            .roots()
            .iter()
            .filter(|span| on_main(span))
            .map(|&s| walk.scope(s))
            .collect();
    }
    phases.into_iter().map(|span| walk.scope(span)).collect()
}

fn outermost_phases(
    tree: &SpanTree,
    on_main: impl Fn(&u32) -> bool,
    is_phase: impl Fn(u32) -> bool,
) -> Vec<u32> {
    let mut found = Vec::new();
    let mut stack: Vec<u32> = tree
        .roots()
        .iter()
        .rev()
        .copied()
        .filter(|s| on_main(s))
        .collect();
    while let Some(span) = stack.pop() {
        if is_phase(span) {
            found.push(span);
        } else {
            stack.extend(tree.children(span).iter().rev());
        }
    }
    found
}

/// For each sequence number, the sum of the threads' times and how many threads there were.
fn busy_by_sequence(trace: &Trace, tree: &SpanTree) -> HashMap<u64, (u64, u64)> {
    let mut busy = HashMap::new();
    for (index, span) in trace.spans.iter().enumerate() {
        let Some(sequence) = span.sequence else {
            continue;
        };
        if trace.site(span).kind == SpanKind::Operation {
            let (sum, count): &mut (u64, u64) = busy.entry(sequence).or_default();
            *sum = sum.saturating_add(tree.duration_ns(index as u32));
            *count += 1;
        }
    }
    busy
}

struct Walk<'a, 'b> {
    trace: &'a Trace,
    tree: &'b SpanTree,
    machine: &'b MachineProfile,
    threads: u32,
    busy: HashMap<u64, (u64, u64)>,
    recording: Recording,
}

impl<'a> Walk<'a, '_> {
    fn scope(&self, root: u32) -> Scope<'a> {
        let span = &self.trace.spans[root as usize];
        let mut scope = Scope {
            name: &self.trace.site(span).name,
            start_ns: self.tree.start_ns(root),
            end_ns: self.tree.end_ns(root),
            tokens: span.tokens,
            ..Scope::default()
        };
        let mut open = HashMap::new();
        let mut stack = vec![(root, OTHER)];
        while let Some((index, engine)) = stack.pop() {
            let site = self.trace.site(&self.trace.spans[index as usize]);
            match site.kind {
                SpanKind::Operation => self.begin(index, &mut scope, &mut open),
                SpanKind::Wait => self.end(index, &mut scope, &mut open),
                kind => {
                    let engine = if kind == SpanKind::Engine {
                        &site.name
                    } else {
                        engine
                    };
                    self.between(index, kind, engine, &mut scope);
                    stack.extend(self.tree.children(index).iter().rev().map(|&c| (c, engine)));
                }
            }
        }
        scope
    }

    fn begin(&self, index: u32, scope: &mut Scope<'a>, open: &mut HashMap<u64, usize>) {
        let span = &self.trace.spans[index as usize];
        let region_ns = self.tree.duration_ns(index);
        let mean = |(sum, count): &(u64, u64)| sum / count;
        let busy_ns = span
            .sequence
            .and_then(|s| self.busy.get(&s))
            .map_or(region_ns, mean);
        if let Some(sequence) = span.sequence {
            open.insert(sequence, scope.executions.len());
        }
        let floor = Floor::of(span, self.machine, self.threads);
        let floor_ns = floor.ns();
        let waited = false;
        scope.executions.push(Execution {
            span: index,
            region_ns,
            busy_ns,
            floor,
            floor_ns,
            waited,
        });
    }

    fn end(&self, index: u32, scope: &mut Scope<'a>, open: &mut HashMap<u64, usize>) {
        let wait_ns = self.tree.duration_ns(index);
        let sequence = self.trace.spans[index as usize].sequence;
        match sequence.and_then(|sequence| open.remove(&sequence)) {
            None => scope.stray_wait_ns += wait_ns,
            Some(ended) => {
                scope.executions[ended].region_ns += wait_ns;
                scope.executions[ended].waited = true;
            }
        }
    }

    /// The self time of a span that is no region. Recording a child costs its parent, so the probe's part is taken
    /// out here, never more than there is.
    fn between(&self, index: u32, kind: SpanKind, engine: &'a str, scope: &mut Scope<'a>) {
        let self_ns = self.tree.self_ns(index);
        let children = self.tree.children(index).iter();
        let recording: f64 = children
            .map(|&child| self.recording.of(self.trace, child))
            .sum();
        let probe_ns = (recording.round() as u64).min(self_ns);
        scope.probe_ns += probe_ns;
        let (ns, count) = scope.engine.entry(engine).or_default();
        *ns += self_ns - probe_ns;
        *count += u64::from(kind == SpanKind::Engine);
        if kind == SpanKind::Step {
            scope.steps.push(Step {
                start_ns: self.tree.start_ns(index),
                end_ns: self.tree.end_ns(index),
                tokens: self.trace.spans[index as usize].tokens,
            });
        }
    }
}

impl Scope<'_> {
    /// The time that is accounted for.
    pub fn wall_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// Tokens of the phase, or of its steps where the phase has none of its own.
    pub fn tokens(&self) -> u64 {
        match self.tokens {
            0 => self
                .steps
                .iter()
                .fold(0, |sum, step| sum.saturating_add(step.tokens)),
            tokens => tokens,
        }
    }
}

impl Execution {
    /// The mean of the threads' time, but no more than the region that they ran in: clocks of cores differ a little.
    pub fn busy_ns(&self) -> u64 {
        self.busy_ns.min(self.region_ns)
    }
}
