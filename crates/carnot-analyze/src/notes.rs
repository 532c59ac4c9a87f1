//! The remark beside each row of the loss table: the one fact that says where to look.

use std::collections::BTreeMap;

use carnot_record::{Span, Trace};

use crate::{execution::Execution, floor::OVERHEAD_BELOW, statistics::ratio};

/// What the executions of one family of operations sum to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    pub count: u64,
    pub busy_ns: u64,
    pub floor_ns: u64,
    memory_bound_ns: u64,
    layers: BTreeMap<u32, u64>,
}

impl Kernel {
    pub fn add(&mut self, span: &Span, execution: &Execution) {
        self.count += 1;
        self.busy_ns += execution.busy_ns();
        self.floor_ns += execution.floor_ns;
        if execution.floor.memory_ns >= execution.floor.compute_ns {
            self.memory_bound_ns += execution.floor_ns;
        }
        if let Some(layer) = span.layer {
            *self.layers.entry(layer).or_default() += execution.busy_ns();
        }
    }

    pub fn note(&self) -> String {
        let reached = ratio(self.floor_ns as f64, self.busy_ns as f64);
        if reached < OVERHEAD_BELOW {
            let calls = if self.count == 1 { "call" } else { "calls" };
            let each = each(self.busy_ns, self.count);
            return format!("{} {calls}, {each}", thousands(self.count));
        }
        let limit = match ratio(self.memory_bound_ns as f64, self.floor_ns as f64) {
            0.9.. => "bandwidth",
            ..0.1 => "peak",
            _ => "its limit",
        };
        match self.layers_note() {
            None => format!("{reached:.2} of {limit}"),
            Some(layers) => format!("{reached:.2} of {limit}; {layers}"),
        }
    }

    /// Layers do the same work, so one that takes much longer is worth a look.
    fn layers_note(&self) -> Option<String> {
        let (first, last) = (self.layers.keys().next()?, self.layers.keys().next_back()?);
        let (slowest, most) = self.layers.iter().max_by_key(|(_, ns)| **ns)?;
        let mean = self.layers.values().sum::<u64>() as f64 / self.layers.len() as f64;
        if first == last {
            return None;
        }
        if (*most as f64) < 1.15 * mean {
            return Some(format!("layers {first}–{last} alike"));
        }
        Some(format!("layer {slowest} {:.1}× mean", *most as f64 / mean))
    }
}

pub(crate) fn wait(ns: i64, count: u64, steps: u64) -> String {
    match (count, steps) {
        (0, _) => String::new(),
        (_, 0) => format!("{} barriers, {}", thousands(count), each(ns as u64, count)),
        _ => {
            let per_step = count as f64 / steps as f64;
            format!("{per_step:.0} barriers a step, {}", each(ns as u64, count))
        }
    }
}

pub(crate) fn engine(ns: u64, count: u64) -> String {
    match count {
        0 => String::new(),
        1 => "once".to_owned(),
        _ => format!("{} times, {}", thousands(count), each(ns, count)),
    }
}

pub(crate) fn probe(trace: &Trace) -> String {
    let events = thousands(trace.cost.events);
    match trace.dropped.max(trace.cost.dropped) {
        0 => format!("{events} events, none dropped"),
        dropped => format!("{events} events, {dropped} dropped"),
    }
}

fn each(ns: u64, count: u64) -> String {
    let mean = ratio(ns as f64, count as f64);
    match mean {
        ..1e3 => format!("{mean:.0} ns each"),
        1e3..1e6 => format!("{:.1} µs each", mean / 1e3),
        _ => format!("{:.1} ms each", mean / 1e6),
    }
}

/// A whole number with thousands apart, as reports write it.
fn thousands(value: u64) -> String {
    match value {
        0..1_000 => value.to_string(),
        _ => format!("{},{:03}", thousands(value / 1_000), value % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            [999, 1_000, 1_002_003].map(thousands),
            ["999", "1,000", "1,002,003"]
        );
    }
}
