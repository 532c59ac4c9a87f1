//! The analysis as a whole: what goes in, what comes out, in which order it is computed.

use carnot_record::{
    Arithmetic, BandwidthPoint, MachineProfile, ModelSummary, ProbeSummary, Trace,
};
use serde::Serialize;

use crate::{
    accounting::Accounting,
    bottlenecks::{Bottleneck, bottlenecks},
    call_tree::CallTree,
    execution::{Scope, scopes},
    layers::{LayerRow, layers},
    memory::{MemoryTimeline, memory},
    operations::{By, OperationGroup, group},
    phases::{Latency, Phase, latency, phases},
    span_tree::SpanTree,
    tensors::{TensorAnalysis, TensorRun, tensors},
    warnings::warnings,
};

/// What a trace cannot know of its run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunInfo {
    /// The model that ran.
    pub model: ModelSummary,
    /// Threads that computed.
    pub threads: u32,
    /// The instructions that the kernels used, for the header, such as `AVX-512 VNNI`.
    pub instructions: String,
    /// What counts as wall time.
    pub wall: WallScope,
    /// Files that were written beside the report.
    pub files: Vec<String>,
    /// Of a tensor model, what went in and what its nodes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<TensorRun>,
    /// What was amiss before anything ran; the analysis begins its own list with them.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Which phases count as wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WallScope {
    /// All but `load`, `warmup` and `tokenize`: prefill and decode.
    #[default]
    Generation,
    /// All but `load` and `warmup`.
    WithTokenize,
    /// All phases.
    Everything,
}

impl WallScope {
    pub(crate) fn counts(self, phase: &str) -> bool {
        match self {
            Self::Generation => !matches!(phase, "load" | "warmup" | "tokenize"),
            Self::WithTokenize => !matches!(phase, "load" | "warmup"),
            Self::Everything => true,
        }
    }
}

/// Everything that was learnt from a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// What was given.
    pub run: RunInfo,
    /// The ceilings with the run's threads.
    pub ceilings: Ceilings,
    /// The counted phases together, from the floor up.
    pub total: Accounting,
    /// Each phase, in order of beginning.
    pub phases: Vec<Phase>,
    /// How long tokens took to come.
    pub latency: Latency,
    /// Operations of the counted phases, by name.
    pub operations: Vec<OperationGroup>,
    /// The same by name and layer.
    pub operations_by_layer: Vec<OperationGroup>,
    /// The same by name and phase: the points of the roofline plot.
    pub operations_by_phase: Vec<OperationGroup>,
    /// Layers in order.
    pub layers: Vec<LayerRow>,
    /// What to look at.
    pub bottlenecks: Vec<Bottleneck>,
    /// All threads, all phases.
    pub call_tree: CallTree,
    /// Memory by owner.
    pub memory: MemoryTimeline,
    /// Of a tensor model, its nodes by operator, by module, and one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<TensorAnalysis>,
    /// What measuring cost.
    #[serde(skip)]
    pub probe: ProbeSummary,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

/// The machine's ceilings with the run's threads; 0 where one was not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ceilings {
    /// The processor's model name.
    pub cpu: String,
    /// Read bandwidth of memory: the last point of the curve.
    pub read_bandwidth_bytes_per_s: f64,
    /// Read bandwidth over the working set.
    pub bandwidth_curve: Vec<BandwidthPoint>,
    /// 8-bit integer operations a second.
    pub peak_int8_ops_per_s: f64,
    /// 32-bit floating-point operations a second.
    pub peak_f32_flops: f64,
    /// bfloat16 operations a second.
    pub peak_bf16_flops: f64,
}

/// Analyses a trace. Linear in its spans but for sorting; a million spans take about a second.
pub fn analyze(trace: &Trace, machine: &MachineProfile, run: &RunInfo) -> Analysis {
    let tree = SpanTree::new(trace);
    let all = scopes(trace, &tree, machine, run.threads);
    let counted: Vec<&Scope> = all
        .iter()
        .filter(|scope| run.wall.counts(scope.name))
        .collect();
    let total = Accounting::of(trace, &counted);
    let by = |by| group(trace, &counted, by, total.wall_ns);
    let (operations, operations_by_layer) = (by(By::Name), by(By::NameAndLayer));
    let operations_by_phase = by(By::NameAndPhase);
    let phases = phases(trace, &all, |name| run.wall.counts(name));
    Analysis {
        run: run.clone(),
        ceilings: Ceilings::of(machine, run.threads),
        latency: latency(&all),
        layers: layers(&operations_by_layer, total.wall_ns),
        bottlenecks: bottlenecks(&total, &operations_by_phase, &phases, run.tensors.is_some()),
        call_tree: CallTree::new(trace, &tree),
        memory: memory(trace),
        tensors: run
            .tensors
            .as_ref()
            .map(|known| tensors(known, &operations, machine, run.threads)),
        probe: probe(trace),
        warnings: [
            run.warnings.clone(),
            warnings(trace, &tree, machine, &counted, &operations_by_phase),
        ]
        .concat(),
        total,
        phases,
        operations,
        operations_by_layer,
        operations_by_phase,
    }
}

impl Ceilings {
    fn of(machine: &MachineProfile, threads: u32) -> Self {
        let measured = |value: f64| if value.is_finite() { value } else { 0.0 };
        let peak = |arithmetic| measured(machine.peak(threads, arithmetic));
        Self {
            cpu: machine.cpu.model.clone(),
            read_bandwidth_bytes_per_s: measured(machine.bandwidth(threads, u64::MAX)),
            bandwidth_curve: machine
                .curve(threads)
                .map_or_else(Vec::new, |c| c.points.clone()),
            peak_int8_ops_per_s: peak(Arithmetic::Int8),
            peak_f32_flops: peak(Arithmetic::F32),
            peak_bf16_flops: peak(Arithmetic::Bf16),
        }
    }
}

fn probe(trace: &Trace) -> ProbeSummary {
    ProbeSummary {
        events: trace.cost.events,
        dropped: trace.dropped.max(trace.cost.dropped),
        cost_ns: trace.cost.total_ns,
    }
}
