//! The forms of trace viewers: times nest, add up, and balance.

use std::collections::HashMap;

use carnot_report::{chrome, collapsed, speedscope};
use serde_json::Value;

use crate::fixture;

fn nanoseconds(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 1e3).round() as u64
}

#[test]
fn chrome_events_nest_on_each_thread() {
    let trace = fixture::trace();
    let file: Value = serde_json::from_str(&chrome::render(&trace)).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let mut open: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut spans = 0;
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let begin = nanoseconds(&event["ts"]);
        let end = begin + nanoseconds(&event["dur"]);
        let stack = open.entry(event["tid"].as_u64().unwrap()).or_default();
        while stack
            .last()
            .is_some_and(|above| *above <= begin && *above < end)
        {
            stack.pop();
        }
        assert!(stack.last().is_none_or(|above| end <= *above), "{event}");
        stack.push(end);
        spans += 1;
    }
    assert_eq!(spans, trace.spans.len());
    assert!(
        !open.contains_key(&0),
        "thread 0 is the idle thread to viewers"
    );
    for phase in ["M", "s", "f", "i", "C"] {
        assert!(events.iter().any(|event| event["ph"] == phase), "{phase}");
    }
}

#[test]
fn chrome_times_are_exact() {
    let trace = fixture::trace();
    let file: Value = serde_json::from_str(&chrome::render(&trace)).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let spans = events.iter().filter(|event| event["ph"] == "X");
    let time: u64 = spans.map(|event| nanoseconds(&event["dur"])).sum();
    assert_eq!(
        time,
        trace
            .spans
            .iter()
            .map(carnot_record::Span::duration_ns)
            .sum::<u64>()
    );
}

#[test]
fn speedscope_opens_and_closes_balance() {
    let file: Value =
        serde_json::from_str(&speedscope::render(&fixture::analysis(), &fixture::trace())).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
    let profiles = file["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 2);
    for profile in profiles {
        let (mut stack, mut last) = (Vec::new(), profile["startValue"].as_u64().unwrap());
        for event in profile["events"].as_array().unwrap() {
            let (frame, at) = (
                event["frame"].as_u64().unwrap(),
                event["at"].as_u64().unwrap(),
            );
            assert!(at >= last && frame < frames);
            last = at;
            match event["type"].as_str().unwrap() {
                "O" => stack.push(frame),
                _ => assert_eq!(stack.pop(), Some(frame)),
            }
        }
        assert!(stack.is_empty());
        assert_eq!(profile["endValue"].as_u64(), Some(last));
    }
}

#[test]
fn stacks_add_up_to_the_threads_time() {
    let analysis = fixture::analysis();
    let stacks = collapsed::render(&analysis);
    let weights = stacks
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    let threads = analysis
        .call_tree
        .nodes
        .iter()
        .filter(|node| node.parent.is_none());
    assert_eq!(
        weights.sum::<u64>(),
        threads.map(|node| node.times.total_ns).sum::<u64>()
    );
    assert!(
        stacks
            .lines()
            .any(|line| line.starts_with("main;decode;step;sampling "))
    );
}
