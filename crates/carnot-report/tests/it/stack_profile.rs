//! Stacks that were sampled: shares that add up, and forms that other tools read.

use std::io::Read as _;

use carnot_report::stack_profile::{Function, Stack, StackProfile, Weight};
use flate2::read::GzDecoder;

use crate::protobuf::Fields;

/// `main` calls `work`, which calls itself and `copy`; another thread works too.
fn profile() -> StackProfile {
    let function = |name: &str| Function {
        name: name.to_owned(),
        file: "a/src/lib.rs".to_owned(),
    };
    let stack = |thread: &str, functions: &[u32], weight| Stack {
        thread: thread.to_owned(),
        functions: functions.to_vec(),
        weight,
        count: 1,
    };
    StackProfile {
        title: "carnot bench cpu".to_owned(),
        weight: Weight::ProcessorTime,
        wall_ns: 1_000,
        functions: ["main", "carnot_kernels::work", "copy<T>"]
            .map(function)
            .into(),
        stacks: vec![
            stack("main", &[0, 1], 300),
            stack("main", &[0, 1, 1], 100),
            stack("main", &[0, 1, 2], 400),
            stack("worker", &[1, 2], 200),
        ],
    }
}

#[test]
fn a_function_that_calls_itself_counts_once() {
    let profile = profile();
    let told: Vec<(&str, u64, u64)> = profile
        .shares()
        .iter()
        .map(|share| (&*share.function.name, share.own, share.total))
        .collect();
    let expected = [
        ("copy<T>", 600, 600),
        ("carnot_kernels::work", 400, 1_000),
        ("main", 0, 800),
    ];
    assert_eq!(told, expected);
    assert_eq!(profile.whole(), 1_000);
}

#[test]
fn hotspots_say_what_they_leave_out() {
    insta::assert_snapshot!(profile().hotspots(1));
}

#[test]
fn the_flame_graph_has_a_box_for_each_path() {
    let svg = profile().flamegraph();
    assert_eq!(svg.matches("<g class=").count(), 8);
    assert!(
        svg.contains("copy&lt;T&gt; (a/src/lib.rs): 400 ns (40.0 %)"),
        "{svg}"
    );
}

#[test]
fn collapsed_stacks_add_up() {
    let text = profile().collapsed();
    let sum: u64 = text
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 1_000);
    assert!(
        text.contains("worker;carnot_kernels::work;copy<T> 200\n"),
        "{text}"
    );
}

#[test]
fn pprof_has_each_stack_from_its_leaf() {
    let mut bytes = Vec::new();
    GzDecoder::new(&*profile().pprof())
        .read_to_end(&mut bytes)
        .unwrap();
    let fields = Fields::read(&bytes);
    crate::pprof::check_valid(&fields);
    let samples = fields.messages(2);
    assert_eq!(samples[2].packed(1), [3, 2, 1]);
    assert_eq!(samples[2].packed(2), [1, 400]);
    let strings = fields.texts(6);
    assert!(strings.iter().any(|text| text == "cpu"), "{strings:?}");
}
