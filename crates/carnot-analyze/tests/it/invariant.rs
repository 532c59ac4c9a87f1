//! Floor plus losses is the wall time, whatever the trace holds.

use carnot_analyze::{Accounting, RunInfo, SpanTree, WallScope, analyze, nest};
use carnot_record::{
    Arithmetic, BandwidthCurve, BandwidthPoint, MachineProfile, MemoryEvent, Peaks, ProbeCost,
    Site, Span, SpanKind, Thread, Trace,
};
use proptest::prelude::*;

const KINDS: [SpanKind; 8] = [
    SpanKind::Phase,
    SpanKind::Step,
    SpanKind::Layer,
    SpanKind::Operation,
    SpanKind::Wait,
    SpanKind::Engine,
    SpanKind::Stage,
    SpanKind::Other,
];

fn sites() -> Vec<Site> {
    let names = ["prefill", "decode", "load", "matmul q8_0 a", "sampling", ""];
    let all = KINDS
        .iter()
        .flat_map(|kind| names.iter().map(move |name| (*kind, *name)));
    all.map(|(kind, name)| Site {
        name: name.into(),
        kind,
        ..Site::default()
    })
    .collect()
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..100_000_u64, 1 => any::<u64>()]
}

prop_compose! {
    /// Any span at all: parents point forwards, backwards, at themselves and in rings; intervals overlap.
    fn span(count: u32)(
        site in 0..sites().len() as u32,
        thread in 0..3_u32,
        parent in proptest::option::of(0..count),
        start in time(),
        length in time(),
        sequence in proptest::option::of(0..6_u64),
        layer in proptest::option::of(0..4_u32),
        (flops, bytes) in (time(), time()),
        arithmetic in prop_oneof![Just(Arithmetic::None), Just(Arithmetic::Int8), Just(Arithmetic::F32)],
    ) -> Span {
        Span {
            site, thread, parent, layer, sequence, flops, bytes, arithmetic,
            start_ns: start,
            end_ns: start.saturating_add(length),
            working_set_bytes: bytes,
            tokens: flops,
            ..Span::default()
        }
    }
}

fn trace() -> impl Strategy<Value = Trace> {
    let spans =
        (1..60_u32).prop_flat_map(|count| proptest::collection::vec(span(count), count as usize));
    (spans, 0.0..500.0_f64, any::<i64>()).prop_map(|(spans, span_ns, bytes)| Trace {
        threads: vec![
            Thread::default(),
            Thread {
                id: 1,
                recorded_by: Some(0),
                ..Thread::default()
            },
        ],
        sites: sites(),
        spans,
        memory: vec![
            MemoryEvent {
                time_ns: 0,
                owner: String::new(),
                bytes,
                id: None,
            };
            3
        ],
        cost: ProbeCost {
            span_ns,
            ..ProbeCost::default()
        },
        ..Trace::default()
    })
}

fn machine() -> MachineProfile {
    let points = vec![
        BandwidthPoint {
            bytes: 100,
            bytes_per_s: 9e9,
        },
        BandwidthPoint {
            bytes: 10_000,
            bytes_per_s: 2e9,
        },
    ];
    MachineProfile {
        bandwidth: vec![BandwidthCurve { threads: 2, points }],
        peaks: vec![Peaks {
            threads: 2,
            int8_ops_per_s: 5e9,
            f32_flops: 1e9,
            bf16_flops: 0.0,
        }],
        ..MachineProfile::default()
    }
}

fn adds_up(accounting: &Accounting) -> bool {
    let losses: i128 = accounting
        .losses
        .iter()
        .map(|loss| i128::from(loss.ns))
        .sum();
    i128::from(accounting.floor_ns) + losses == i128::from(accounting.wall_ns)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn floor_and_losses_are_the_wall_time(trace in trace()) {
        let run = RunInfo { threads: 2, wall: WallScope::Everything, ..RunInfo::default() };
        let analysis = analyze(&trace, &machine(), &run);
        prop_assert!(adds_up(&analysis.total), "{:?}", analysis.total);
        for phase in &analysis.phases {
            prop_assert!(adds_up(&phase.accounting), "{:?}", phase);
        }
        let walls: u64 = analysis.phases.iter().map(|phase| phase.accounting.wall_ns).sum();
        prop_assert_eq!(analysis.total.wall_ns, walls);
    }

    #[test]
    fn only_kernels_may_be_negative(trace in trace()) {
        let analysis = analyze(&trace, &machine(), &RunInfo { threads: 2, ..RunInfo::default() });
        for loss in &analysis.total.losses {
            prop_assert!(loss.ns > 0 || loss.path().starts_with("kernel"), "{:?}", loss);
        }
    }

    #[test]
    fn nested_spans_all_have_a_root(mut trace in trace()) {
        nest(&mut trace);
        let tree = SpanTree::new(&trace);
        prop_assert_eq!(tree.in_order().len(), trace.spans.len());
        let run = RunInfo { threads: 2, wall: WallScope::Everything, ..RunInfo::default() };
        prop_assert!(adds_up(&analyze(&trace, &machine(), &run).total));
    }

    #[test]
    fn the_call_tree_adds_up(trace in trace()) {
        let analysis = analyze(&trace, &machine(), &RunInfo::default());
        let nodes = &analysis.call_tree.nodes;
        for (index, node) in nodes.iter().enumerate() {
            let below = nodes.iter().filter(|child| child.parent == Some(index as u32));
            let children: u64 = below.map(|child| child.times.total_ns).sum();
            prop_assert_eq!(node.self_ns + children, node.times.total_ns);
        }
    }
}
