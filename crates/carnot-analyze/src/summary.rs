//! From the analysis to the record that scripts read.

use carnot_record::{
    BottleneckSummary, LatencySummary, LossSummary, MachineSummary, OperationSummary, PhaseSummary,
    ProfileSummary,
};

use crate::{
    accounting::Loss,
    analysis::{Analysis, Ceilings},
    bottlenecks::Bottleneck,
    operations::OperationGroup,
    phases::{Latency, Phase},
    tensors,
};

impl Analysis {
    /// The stable summary of this analysis.
    pub fn summary(&self) -> ProfileSummary {
        ProfileSummary {
            model: self.run.model.clone(),
            machine: machine(&self.ceilings, self.run.threads),
            wall_ns: self.total.wall_ns,
            floor_ns: self.total.floor_ns,
            efficiency: self.total.efficiency(),
            losses: self.total.losses.iter().map(loss).collect(),
            phases: self.phases.iter().map(phase).collect(),
            latency: latency(&self.latency),
            operations: self.operations_by_layer.iter().map(operation).collect(),
            bottlenecks: self.bottlenecks.iter().map(bottleneck).collect(),
            probe: self.probe,
            warnings: self.warnings.clone(),
            files: self.run.files.clone(),
            tensors: match (&self.run.tensors, &self.tensors) {
                (Some(run), Some(found)) => Some(tensors::summary(run, found)),
                _ => None,
            },
            ..ProfileSummary::default()
        }
    }
}

fn machine(ceilings: &Ceilings, threads: u32) -> MachineSummary {
    MachineSummary {
        cpu: ceilings.cpu.clone(),
        threads,
        read_bandwidth_bytes_per_s: ceilings.read_bandwidth_bytes_per_s,
        bandwidth_curve: ceilings.bandwidth_curve.clone(),
        peak_int8_ops_per_s: ceilings.peak_int8_ops_per_s,
        peak_f32_flops: ceilings.peak_f32_flops,
    }
}

fn loss(loss: &Loss) -> LossSummary {
    LossSummary {
        name: loss.path(),
        ns: loss.ns,
        share: loss.share,
    }
}

fn phase(phase: &Phase) -> PhaseSummary {
    PhaseSummary {
        name: phase.name.clone(),
        ns: phase.accounting.wall_ns,
        tokens: phase.tokens,
        tokens_per_s: phase.tokens_per_s(),
        efficiency: phase.accounting.efficiency(),
    }
}

fn latency(latency: &Latency) -> LatencySummary {
    let some = |count: u64, value: u64| (count > 0).then_some(value);
    let inter = |value| some(latency.inter_token.count, value);
    LatencySummary {
        time_to_first_token_ns: some(latency.first_token.count, latency.first_token.p50_ns),
        inter_token_p50_ns: inter(latency.inter_token.p50_ns),
        inter_token_p95_ns: inter(latency.inter_token.p95_ns),
        inter_token_p99_ns: inter(latency.inter_token.p99_ns),
    }
}

fn operation(group: &OperationGroup) -> OperationSummary {
    OperationSummary {
        name: group.name.clone(),
        layer: group.layer,
        count: group.times.count,
        total_ns: group.times.total_ns,
        self_ns: group.busy_ns,
        p50_ns: group.times.p50_ns,
        p95_ns: group.times.p95_ns,
        p99_ns: group.times.p99_ns,
        flops: group.flops,
        bytes: group.bytes,
        floor_ns: group.floor_ns,
        bound: group.bound.name().to_owned(),
    }
}

fn bottleneck(bottleneck: &Bottleneck) -> BottleneckSummary {
    BottleneckSummary {
        name: bottleneck.name.clone(),
        severity: bottleneck.severity.name().to_owned(),
        share: bottleneck.share,
        advice: bottleneck.advice.clone(),
        speedup_at_limit: bottleneck.speedup_at_limit,
    }
}
