//! One decode step of two threads, small enough to check by hand.
//!
//! ```text
//! main    decode 0                                                               1000
//!         step      20                                                       990
//!         matmul      30========430  wait 430--500   attention 510====710   sampling 750==950
//! worker      matmul  40=========500
//! ```

use carnot_analyze::{Analysis, Bound, LossKind, RunInfo, Severity, analyze};
use carnot_record::{
    Arithmetic, BandwidthCurve, BandwidthPoint, MachineProfile, Peaks, ProbeCost, Site, Span,
    SpanKind, Thread, Trace,
};

fn machine() -> MachineProfile {
    let points = vec![BandwidthPoint {
        bytes: 1,
        bytes_per_s: 10e9,
    }];
    MachineProfile {
        bandwidth: vec![BandwidthCurve { threads: 2, points }],
        peaks: vec![Peaks {
            threads: 2,
            int8_ops_per_s: 100e9,
            f32_flops: 10e9,
            bf16_flops: 0.0,
        }],
        ..MachineProfile::default()
    }
}

fn trace() -> Trace {
    let site = |name: &str, kind| Site {
        name: name.into(),
        kind,
        ..Site::default()
    };
    let span = |site, parent, start_ns, end_ns| Span {
        site,
        parent,
        start_ns,
        end_ns,
        ..Span::default()
    };
    Trace {
        duration_ns: 1_000,
        threads: vec![
            Thread {
                id: 0,
                name: "main".into(),
                ..Thread::default()
            },
            Thread {
                id: 1,
                name: "worker 1".into(),
                ..Thread::default()
            },
        ],
        sites: vec![
            site("decode", SpanKind::Phase),
            site("step", SpanKind::Step),
            site("matmul q8_0 ffn_up", SpanKind::Operation),
            site("barrier", SpanKind::Wait),
            site("attention f16", SpanKind::Operation),
            site("sampling", SpanKind::Engine),
        ],
        spans: vec![
            span(0, None, 0, 1_000),
            Span {
                tokens: 1,
                ..span(1, Some(0), 20, 990)
            },
            Span {
                sequence: Some(1),
                layer: Some(0),
                bytes: 3_000,
                flops: 6_000,
                arithmetic: Arithmetic::Int8,
                ..span(2, Some(1), 30, 430)
            },
            Span {
                sequence: Some(1),
                ..span(3, Some(1), 430, 500)
            },
            Span {
                flops: 10,
                arithmetic: Arithmetic::F32,
                ..span(4, Some(1), 510, 710)
            },
            span(5, Some(1), 750, 950),
            Span {
                thread: 1,
                sequence: Some(1),
                ..span(2, None, 40, 500)
            },
        ],
        cost: ProbeCost {
            events: 7,
            span_ns: 5.0,
            ..ProbeCost::default()
        },
        ..Trace::default()
    }
}

fn analysis() -> Analysis {
    analyze(
        &trace(),
        &machine(),
        &RunInfo {
            threads: 2,
            ..RunInfo::default()
        },
    )
}

#[test]
fn each_nanosecond_has_its_place() {
    let total = analysis().total;
    // matmul: 3,000 bytes at 10 bytes a ns; attention: 10 operations at 10 a ns.
    assert_eq!((total.wall_ns, total.floor_ns), (1_000, 301));
    let rows: Vec<_> = total
        .losses
        .iter()
        .map(|loss| (loss.path(), loss.ns))
        .collect();
    let expected = [
        ("kernel/attention f16", 199),
        // Busy is the mean of 400 and 460.
        ("kernel/matmul q8_0", 130),
        // The region is 470.
        ("wait", 40),
        ("engine/sampling", 200),
        // 30 around the step, 100 inside it, less the probe.
        ("engine/other", 105),
        // One span below the phase, four below the step.
        ("probe", 25),
    ];
    assert_eq!(rows, expected.map(|(name, ns)| (name.to_owned(), ns)));
}

#[test]
fn operations_have_rates_and_bounds() {
    let operations = analysis().operations;
    let matmul = &operations[0];
    assert_eq!(
        (matmul.total_ns(), matmul.busy_ns, matmul.bound),
        (470, 430, Bound::Memory)
    );
    assert_eq!((matmul.intensity(), matmul.arithmetic), (2.0, "int8"));
    assert!((matmul.bytes_per_s() - 3_000.0 / 470e-9).abs() < 1.0);
    assert_eq!(operations[1].bound, Bound::Overhead);
}

#[test]
fn phases_and_latency() {
    let analysis = analysis();
    let decode = &analysis.phases[0];
    assert_eq!((decode.tokens, decode.tokens_per_s()), (1, 1e6));
    assert_eq!(analysis.latency.inter_token.p50_ns, 990);
    assert_eq!(analysis.latency.first_token.count, 0);
}

#[test]
fn layers_hold_what_has_a_layer() {
    let layers = analysis().layers;
    assert_eq!(
        (layers.len(), layers[0].total_ns, layers[0].floor_ns),
        (1, 470, 300)
    );
    assert_eq!(layers[0].largest_loss, "matmul q8_0 ffn_up");
}

#[test]
fn bottlenecks_are_the_large_losses() {
    let found: Vec<_> = analysis()
        .bottlenecks
        .iter()
        .map(|b| (b.name.clone(), b.severity))
        .collect();
    assert_eq!(
        found,
        [
            ("engine/sampling".to_owned(), Severity::Medium),
            ("kernel/attention f16".to_owned(), Severity::Low),
            ("kernel/matmul q8_0".to_owned(), Severity::Low),
            ("engine/other".to_owned(), Severity::Low),
        ]
    );
    assert_eq!(analysis().bottlenecks[0].speedup_at_limit, 1.25);
}

#[test]
fn a_floor_above_the_time_is_said_and_kept() {
    let mut machine = machine();
    machine.bandwidth[0].points[0].bytes_per_s = 5e9;
    let analysis = analyze(
        &trace(),
        &machine,
        &RunInfo {
            threads: 2,
            ..RunInfo::default()
        },
    );
    assert_eq!(analysis.total.loss_ns(LossKind::Kernel), 199 + 430 - 600);
    assert_eq!(
        analysis.warnings,
        [
            "floor above measured time for matmul q8_0 ffn_up in decode by 40 %: run carnot machine --refresh"
        ]
    );
}

#[test]
fn ceilings_that_were_not_measured_are_said() {
    let analysis = analyze(&trace(), &MachineProfile::default(), &RunInfo::default());
    assert_eq!(analysis.total.floor_ns, 0);
    assert_eq!(analysis.warnings.len(), 3, "{:?}", analysis.warnings);
}

#[test]
fn the_summary_holds_the_same_figures() {
    let summary = analysis().summary();
    assert_eq!(
        (summary.wall_ns, summary.floor_ns, summary.efficiency),
        (1_000, 301, 0.301)
    );
    assert_eq!(summary.losses.iter().map(|loss| loss.ns).sum::<i64>(), 699);
    assert_eq!(summary.operations[0].self_ns, 430);
    assert_eq!(summary.latency.inter_token_p50_ns, Some(990));
    assert_eq!(summary.latency.time_to_first_token_ns, None);
}

#[test]
fn what_was_amiss_before_the_run_comes_first() {
    let run = RunInfo {
        warnings: vec!["too many threads".to_owned()],
        ..RunInfo::default()
    };
    let analysis = analyze(&trace(), &MachineProfile::default(), &run);
    assert_eq!(analysis.warnings[0], "too many threads");
    assert!(analysis.warnings.len() > 1, "no ceiling was measured");
    assert_eq!(analysis.summary().warnings, analysis.warnings);
}
