//! A profile of a tensor model, in the forms that people read.

use carnot_analyze::{Analysis, NodeInfo, NodeWork, RunInfo, TensorRun, analyze};
use carnot_record::{
    Arithmetic, ModelSummary, ProbeCost, Site, Span, SpanKind, TensorInputSummary, Thread, Trace,
};
use carnot_report::{html, markdown, text};

use crate::fixture;

fn node(name: &str, operator: &str, module: u32, work: Option<(u64, u64)>) -> NodeInfo {
    NodeInfo {
        site: format!("{operator} · {name}"),
        name: name.to_owned(),
        operator: operator.to_owned(),
        module,
        inputs: "1×3×224×224, 64×3×7×7".to_owned(),
        outputs: "1×64×112×112".to_owned(),
        work: work.map(|(flops, bytes)| NodeWork {
            flops,
            bytes,
            working_set_bytes: bytes,
            arithmetic: Arithmetic::F32,
        }),
    }
}

fn run(is_timed_by_node: bool) -> RunInfo {
    RunInfo {
        model: ModelSummary {
            name: "resnet".to_owned(),
            architecture: "onnx".to_owned(),
            parameters: 25_600_000,
            file_type: "FLOAT".to_owned(),
            bytes: 102_000_000,
        },
        threads: 2,
        instructions: "ONNX Runtime".to_owned(),
        tensors: Some(TensorRun {
            engine: "onnxruntime".to_owned(),
            reason: "its library is /opt/onnxruntime/lib/libonnxruntime.so".to_owned(),
            is_timed_by_node,
            inputs: vec![TensorInputSummary {
                name: "image".to_owned(),
                data_type: "FP32".to_owned(),
                shape: vec![1, 3, 224, 224],
                values: "random".to_owned(),
            }],
            assumed: vec!["batch of image is 1".to_owned()],
            plain_ns: (0..20).map(|run| 2_000_000 + 10_000 * run).collect(),
            modules: vec![
                "stem".to_owned(),
                "layer1/layer1.0".to_owned(),
                String::new(),
            ],
            nodes: vec![
                node("/stem/conv/Conv", "Conv", 0, Some((240_000_000, 3_000_000))),
                node(
                    "/layer1/layer1.0/add/Add",
                    "Add",
                    1,
                    Some((800_000, 9_600_000)),
                ),
                node("/stem/flatten/Flatten", "Flatten", 0, Some((0, 0))),
                node("Wonder_3", "Wonder", 2, None),
            ],
            uncounted: [("Wonder".to_owned(), 1)].into(),
        }),
        ..RunInfo::default()
    }
}

/// Three runs of 2.1 ms: the nodes take 1.2, 0.5, 0.01 and 0.3 ms, and what is between them 0.09.
fn trace(run: &RunInfo) -> Trace {
    let nodes = &run.tensors.as_ref().expect("it has them").nodes;
    let site = |name: &str, kind| Site {
        name: name.to_owned(),
        kind,
        ..Site::default()
    };
    let mut trace = Trace {
        threads: vec![Thread::default()],
        sites: vec![
            site("run", SpanKind::Phase),
            site("step", SpanKind::Step),
            site("runtime", SpanKind::Engine),
        ],
        cost: ProbeCost {
            events: 21,
            recorded_span_ns: 5_000.0,
            ..ProbeCost::default()
        },
        ..Trace::default()
    };
    let sites = nodes
        .iter()
        .map(|node| site(&node.site, SpanKind::Operation));
    trace.sites.extend(sites);
    for run in 0..3 {
        let start_ns = run * 3_000_000;
        let first = trace.spans.len() as u32;
        for (index, parent) in [(0, None), (1, Some(first)), (2, Some(first + 1))] {
            trace.spans.push(Span {
                site: index,
                parent,
                start_ns,
                end_ns: start_ns + 2_100_000,
                ..Span::default()
            });
        }
        let mut now = start_ns + 10_000;
        let took = [1_200_000, 500_000, 10_000, 300_000];
        for ((site, node), took) in (3..).zip(nodes).zip(took) {
            let work = node.work.unwrap_or_default();
            trace.spans.push(Span {
                site,
                parent: Some(first + 2),
                start_ns: now,
                end_ns: now + took,
                flops: work.flops,
                bytes: work.bytes,
                working_set_bytes: work.working_set_bytes,
                arithmetic: work.arithmetic,
                ..Span::default()
            });
            now += took + 20_000;
        }
    }
    trace.duration_ns = 9_000_000;
    trace
}

fn timed() -> (Analysis, Trace) {
    let run = run(true);
    let trace = trace(&run);
    (analyze(&trace, &fixture::machine(), &run), trace)
}

#[test]
fn text_report() {
    insta::assert_snapshot!(text::render(&timed().0, text::Colour::Never));
}

#[test]
fn markdown_report() {
    insta::assert_snapshot!(markdown::render(&timed().0));
}

/// Nodes have floors and no times.
#[test]
fn text_report_of_what_was_timed_as_a_whole() {
    let run = run(false);
    let mut trace = trace(&run);
    trace.spans.retain(|span| span.site < 3);
    let analysis = analyze(&trace, &fixture::machine(), &run);
    insta::assert_snapshot!(text::render(&analysis, text::Colour::Never));
}

#[test]
fn no_line_is_longer_than_a_hundred_characters() {
    let mut run = run(true);
    let tensors = run.tensors.as_mut().expect("it has them");
    for node in &mut tensors.nodes {
        node.name = node.name.repeat(12);
        node.operator = node.operator.repeat(12);
        node.inputs = node.inputs.repeat(12);
    }
    tensors.reason = "x".repeat(300);
    tensors.modules = tensors.modules.iter().map(|one| one.repeat(12)).collect();
    tensors.uncounted = [("Wonder".repeat(30), 1)].into();
    let analysis = analyze(&trace(&run), &fixture::machine(), &run);
    for line in text::render(&analysis, text::Colour::Never).lines() {
        assert!(line.chars().count() <= text::WIDTH, "{line}");
    }
}

#[test]
fn the_page_has_nodes_and_modules() {
    let (analysis, trace) = timed();
    let Some(dom) = crate::page::drawn_page(&html::render(&analysis, &trace)) else {
        return;
    };
    assert!(dom.contains("data-drawn=\"true\""));
    assert!(
        !dom.contains("class=\"failed\""),
        "a part could not be drawn"
    );
    for text in ["/stem/conv/Conv", "64×3×7×7", "by module", "p90 2.17 ms"] {
        assert!(dom.contains(text), "{text}");
    }
}
