//! Records are written, read again, and refused when they cannot be understood.

mod trace_file;

use carnot_record::{
    Arithmetic, BandwidthCurve, BandwidthPoint, MachineProfile, Peaks, ProfileSummary, Record,
    Site, Span, SpanKind, Thread, Trace, TracedRun,
};

fn trace() -> Trace {
    let span = Span {
        start_ns: 10,
        end_ns: 30,
        tokens: 3,
        ..Span::default()
    };
    let child = Span {
        parent: Some(0),
        start_ns: 12,
        end_ns: 20,
        layer: Some(0),
        arithmetic: Arithmetic::Int8,
        flops: 64,
        ..Span::default()
    };
    Trace {
        duration_ns: 40,
        threads: vec![Thread {
            id: 0,
            name: "main".into(),
            ..Thread::default()
        }],
        sites: vec![Site {
            name: "prefill".into(),
            kind: SpanKind::Phase,
            ..Site::default()
        }],
        spans: vec![span, child],
        ..Trace::default()
    }
}

fn refusal<R: Record + std::fmt::Debug>(text: &str) -> String {
    R::from_json(text)
        .expect_err("it must be refused")
        .to_string()
}

#[test]
fn a_trace_is_read_as_it_was_written() {
    assert_eq!(Trace::from_json(&trace().to_json()).unwrap(), trace());
    let told = Trace {
        run: Some(TracedRun {
            threads: 2,
            ..TracedRun::default()
        }),
        ..trace()
    };
    assert_eq!(Trace::from_json(&told.to_json()).unwrap(), told);
    assert!(!trace().to_json().contains("\"run\""));
}

#[test]
fn columns_of_defaults_are_not_written() {
    let json = trace().to_json();
    assert!(json.contains("\"layer\":[null,0]"), "{json}");
    assert!(!json.contains("working_set_bytes"), "{json}");
}

#[test]
fn a_newer_version_is_refused_with_both_versions() {
    let text = trace().to_json().replace("\"version\":1", "\"version\":7");
    assert_eq!(
        refusal::<Trace>(&text),
        "carnot.trace: the file has version 7, the newest that this carnot reads is 1; a newer carnot reads it"
    );
}

#[test]
fn another_schema_is_refused() {
    let text = MachineProfile::default().to_json();
    assert_eq!(
        refusal::<ProfileSummary>(&text),
        "expected a record of schema \"carnot.profile\", found \"carnot.machine\""
    );
}

#[test]
fn text_that_is_no_record_is_refused() {
    for text in ["", "{", "[]", "{\"schema\":1}", "null"] {
        assert!(
            refusal::<Trace>(text).starts_with("carnot.trace: "),
            "{text}"
        );
    }
}

#[test]
fn columns_of_unequal_length_are_refused() {
    let text = trace()
        .to_json()
        .replace("\"thread\":[0,0]", "\"thread\":[0]");
    assert!(refusal::<Trace>(&text).contains("spans.thread: expected 2 rows"));
}

#[test]
fn indexes_that_point_nowhere_are_refused() {
    let text = trace()
        .to_json()
        .replace("\"parent\":[null,0]", "\"parent\":[null,9]");
    assert_eq!(
        refusal::<Trace>(&text),
        "carnot.trace: spans.parent[1]: expected an index below 2, found 9"
    );
}

#[test]
fn an_end_beyond_the_clock_is_refused() {
    let text = trace()
        .to_json()
        .replace("[20,8]", "[18446744073709551615,8]");
    assert!(refusal::<Trace>(&text).contains("an overflow"));
}

fn machine() -> MachineProfile {
    let curve = |threads, scale: f64| BandwidthCurve {
        threads,
        points: vec![
            BandwidthPoint {
                bytes: 1 << 20,
                bytes_per_s: 100e9 * scale,
            },
            BandwidthPoint {
                bytes: 1 << 24,
                bytes_per_s: 25e9 * scale,
            },
        ],
    };
    MachineProfile {
        threads: 2,
        bandwidth: vec![curve(1, 0.5), curve(2, 1.0)],
        peaks: vec![Peaks {
            threads: 2,
            int8_ops_per_s: 1e12,
            f32_flops: 3e11,
            bf16_flops: 0.0,
        }],
        ..MachineProfile::default()
    }
}

#[test]
fn bandwidth_is_interpolated_on_logarithms_and_held_beyond_the_ends() {
    let machine = machine();
    assert_eq!(machine.bandwidth(2, 1), 100e9);
    assert_eq!(machine.bandwidth(2, 1 << 40), 25e9);
    assert!((machine.bandwidth(2, 1 << 22) / 50e9 - 1.0).abs() < 1e-12);
    assert_eq!(machine.bandwidth(1, 1), 50e9);
    assert_eq!(machine.bandwidth(8, 1), 100e9);
}

#[test]
fn an_unknown_ceiling_limits_nothing() {
    assert_eq!(machine().peak(2, Arithmetic::Int8), 1e12);
    assert_eq!(machine().peak(2, Arithmetic::Bf16), f64::INFINITY);
    assert_eq!(machine().peak(2, Arithmetic::None), f64::INFINITY);
    assert_eq!(MachineProfile::default().bandwidth(2, 4), f64::INFINITY);
}

#[test]
fn a_machine_and_a_summary_are_read_as_they_were_written() {
    assert_eq!(
        MachineProfile::from_json(&machine().to_json()).unwrap(),
        machine()
    );
    let summary = ProfileSummary::default();
    assert_eq!(
        ProfileSummary::from_json(&summary.to_json()).unwrap(),
        summary
    );
}
