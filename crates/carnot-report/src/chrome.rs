//! A trace in the JSON of Chrome's trace viewer, which Perfetto reads too. For small traces: the viewers hold all of it
//! in memory, and the format cannot name tracks.
//!
//! Spans are complete events (`X`) with times in microseconds to three decimals, from the start of the trace: larger
//! numbers would lose their nanoseconds in the viewers' floating point.

use std::{collections::HashMap, fmt::Write as _};

use carnot_analyze::SpanTree;
use carnot_record::Trace;
use serde_json::{Map, Value, json};

use crate::stacks::{name, numbers, shown, threads};

/// The trace as the text of a `.json` file.
pub fn render(trace: &Trace) -> String {
    let tree = SpanTree::new(trace);
    let mut file = String::from("{\"traceEvents\":[\n");
    write(
        &mut file,
        &json!({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "carnot"}}),
    );
    for (id, name) in threads(trace) {
        let args = json!({"name": name});
        write(
            &mut file,
            &json!({"ph": "M", "pid": 1, "tid": tid(id), "name": "thread_name", "args": args}),
        );
    }
    spans(&mut file, trace, &tree);
    flows(&mut file, trace, &tree);
    instants(&mut file, trace);
    counters(&mut file, trace);
    file.truncate(file.trim_end_matches(",\n").len());
    file.push_str("\n],\"displayTimeUnit\":\"ns\"}\n");
    file
}

fn spans(file: &mut String, trace: &Trace, tree: &SpanTree) {
    for &index in tree.in_order() {
        let span = &trace.spans[index as usize];
        let mut args: Map<String, Value> = numbers(span)
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        if span.flops > 0 {
            args.insert("arithmetic".to_owned(), span.arithmetic.name().into());
        }
        let args = Value::Object(args);
        // Written by hand so that the times are exact decimals.
        let _ = writeln!(
            file,
            "{{\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{},\"dur\":{},\"cat\":\"{}\",\"name\":{},\"args\":{args}}},",
            tid(span.thread),
            microseconds(tree.start_ns(index)),
            microseconds(tree.duration_ns(index)),
            trace.site(span).kind.name(),
            Value::from(name(trace, span)),
        );
    }
}

/// An arrow starts in the span that it comes from and binds to the span that encloses its end.
fn flows(file: &mut String, trace: &Trace, tree: &SpanTree) {
    for (number, flow) in trace.flows.iter().enumerate() {
        for (phase, index) in [("s", flow.from), ("f", flow.to)] {
            let thread = tid(trace.spans[index as usize].thread);
            let time = microseconds(tree.start_ns(index));
            let _ = writeln!(
                file,
                "{{\"ph\":\"{phase}\",\"bp\":\"e\",\"pid\":1,\"tid\":{thread},\"ts\":{time},\"cat\":\"flow\",\"name\":\"flow\",\"id\":{number}}},",
            );
        }
    }
}

fn instants(file: &mut String, trace: &Trace) {
    for instant in &trace.instants {
        let _ = writeln!(
            file,
            "{{\"ph\":\"i\",\"s\":\"t\",\"pid\":1,\"tid\":{},\"ts\":{},\"name\":{}}},",
            tid(instant.thread),
            microseconds(instant.time_ns),
            Value::from(shown(&instant.name)),
        );
    }
}

fn counters(file: &mut String, trace: &Trace) {
    for sample in trace
        .counters
        .iter()
        .filter(|sample| sample.value.is_finite())
    {
        let unit = if sample.unit.is_empty() {
            "value"
        } else {
            &sample.unit
        };
        counter(
            file,
            &sample.name,
            sample.time_ns,
            &json!({ unit: sample.value }),
        );
    }
    let mut held: HashMap<&str, i64> = HashMap::new();
    let mut events: Vec<_> = trace.memory.iter().collect();
    events.sort_by_key(|event| event.time_ns);
    for event in events {
        let level = held.entry(&event.owner).or_default();
        *level = level.saturating_add(event.bytes);
        counter(
            file,
            "memory",
            event.time_ns,
            &json!({ &event.owner: *level }),
        );
    }
}

fn counter(file: &mut String, name: &str, time_ns: u64, args: &Value) {
    let (name, time) = (Value::from(shown(name)), microseconds(time_ns));
    let _ = writeln!(
        file,
        "{{\"ph\":\"C\",\"pid\":1,\"ts\":{time},\"name\":{name},\"args\":{args}}},"
    );
}

fn write(file: &mut String, event: &Value) {
    let _ = writeln!(file, "{event},");
}

/// Thread 0 is the idle thread to the viewers, so ours begin at 1.
fn tid(id: u32) -> u64 {
    u64::from(id) + 1
}

fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}

#[cfg(test)]
mod tests {
    use super::microseconds;

    #[test]
    fn nanoseconds_are_kept() {
        assert_eq!(microseconds(1_234_005), "1234.005");
        assert_eq!(microseconds(7), "0.007");
    }
}
