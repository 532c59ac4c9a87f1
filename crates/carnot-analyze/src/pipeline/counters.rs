//! Values over time: what the pipeline counts itself, and what the machine was doing meanwhile.

use std::collections::BTreeMap;

use serde::Serialize;

use super::series::Curve;
use crate::statistics::ratio;

/// Power over a longer gap than this between two samples is not known, and is not energy.
const LONGEST_GAP_NS: u64 = 10_000_000_000;

/// A counter or a gauge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CounterTime {
    /// Its name; what is before the slash is whose it is, and what it ends in is its unit: `gpu0/power_watts`.
    pub name: String,
    /// Samples.
    pub samples: u64,
    /// The least.
    pub min: f64,
    /// The mean of the samples.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
    /// The last.
    pub last: f64,
    /// Of power (`…_watts`), the energy in watt-hours, by the trapezoid rule.
    pub watt_hours: Option<f64>,
    /// The samples.
    pub curve: Curve,
}

#[derive(Debug)]
struct Counter {
    samples: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: (u64, f64),
    joules: f64,
    curve: Curve,
    /// Of what this process holds, the samples, which may grow.
    samples_of_memory: Vec<f64>,
}

/// Counters as samples go by.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<String, Counter>);

impl Counters {
    pub fn take(&mut self, name: &str, time_ns: u64, value: f64, most_points: usize) {
        if !value.is_finite() {
            return;
        }
        let Some(counter) = self.0.get_mut(name) else {
            let mut curve = Curve::new(most_points);
            curve.add(time_ns, value);
            let first = Counter {
                samples: 1,
                sum: value,
                min: value,
                max: value,
                last: (time_ns, value),
                joules: 0.0,
                curve,
                samples_of_memory: vec![value],
            };
            self.0.insert(name.to_owned(), first);
            return;
        };
        let (before_ns, before) = counter.last;
        let apart = time_ns.saturating_sub(before_ns);
        if apart <= LONGEST_GAP_NS {
            counter.joules += f64::midpoint(before, value) * apart as f64 / 1e9;
        }
        counter.samples += 1;
        counter.sum += value;
        (counter.min, counter.max) = (counter.min.min(value), counter.max.max(value));
        counter.last = (time_ns, value);
        counter.curve.add(time_ns, value);
        if RESIDENT.contains(&name) && counter.samples_of_memory.len() < 1 << 16 {
            counter.samples_of_memory.push(value);
        }
    }

    pub fn resident(&self) -> impl Iterator<Item = (&str, &[f64])> {
        let of = |name: &'static str| Some((name, self.0.get(name)?.samples_of_memory.as_slice()));
        RESIDENT.into_iter().filter_map(of)
    }

    pub fn last(&self, name: &str) -> Option<f64> {
        Some(self.0.get(name)?.last.1)
    }

    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub fn finish(self) -> Vec<CounterTime> {
        let all = self.0.into_iter().map(|(name, counter)| CounterTime {
            watt_hours: (name.ends_with("_watts") && counter.samples > 1)
                .then_some(counter.joules / 3600.0),
            name,
            samples: counter.samples,
            min: counter.min,
            mean: ratio(counter.sum, counter.samples as f64),
            max: counter.max,
            last: counter.last.1,
            curve: counter.curve,
        });
        all.collect()
    }
}

/// What this process holds, by those who count it.
const RESIDENT: [&str; 3] = [
    "process/resident_bytes",
    "python/tracemalloc_bytes",
    "torch/allocated_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_the_area_under_power_but_for_gaps() {
        let mut counters = Counters::default();
        let second = 1_000_000_000;
        // 100 W, then up to 200 W in two seconds; nothing is known of the hour after that.
        for (at, watts) in [(0, 100.0), (2, 200.0), (3602, 200.0), (3603, 200.0)] {
            counters.take("gpu0/power_watts", at * second, watts, 100);
        }
        counters.take("gpu0/power_watts", 3604 * second, f64::NAN, 100);
        let found = &counters.finish()[0];
        assert!((found.watt_hours.unwrap() - 500.0 / 3600.0).abs() < 1e-12);
        assert_eq!((found.samples, found.mean, found.max), (4, 175.0, 200.0));
    }
}
