//! Memory over time, by owner.

use std::collections::BTreeMap;

use carnot_record::Trace;
use serde::Serialize;

/// Memory over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryTimeline {
    /// The most that all owners held together.
    pub peak_bytes: u64,
    /// One series for each owner, the one with the highest peak first.
    pub owners: Vec<MemoryOwner>,
}

/// What one owner held.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryOwner {
    /// `weights`, `kv_cache`, `arena`…
    pub owner: String,
    /// The most that it held.
    pub peak_bytes: u64,
    /// What it held after each event.
    pub points: Vec<MemoryPoint>,
}

/// What was held from a moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryPoint {
    /// The moment.
    pub time_ns: u64,
    /// What was held.
    pub bytes: u64,
}

/// Sums events to levels. A level below 0, where the taking was not seen, counts as 0.
pub(crate) fn memory(trace: &Trace) -> MemoryTimeline {
    let mut events: Vec<_> = trace.memory.iter().collect();
    events.sort_by_key(|event| event.time_ns);
    let mut owners: BTreeMap<&str, MemoryOwner> = BTreeMap::new();
    let mut held: u64 = 0;
    let mut peak_bytes = 0;
    for event in events {
        let owner = owners.entry(&event.owner).or_insert_with(|| MemoryOwner {
            owner: event.owner.clone(),
            ..MemoryOwner::default()
        });
        let before = owner.points.last().map_or(0, |point| point.bytes);
        let bytes = before.saturating_add_signed(event.bytes);
        owner.points.push(MemoryPoint {
            time_ns: event.time_ns,
            bytes,
        });
        owner.peak_bytes = owner.peak_bytes.max(bytes);
        held = held.saturating_sub(before).saturating_add(bytes);
        peak_bytes = peak_bytes.max(held);
    }
    let mut owners: Vec<MemoryOwner> = owners.into_values().collect();
    owners.sort_by(|a, b| {
        b.peak_bytes
            .cmp(&a.peak_bytes)
            .then_with(|| a.owner.cmp(&b.owner))
    });
    MemoryTimeline { peak_bytes, owners }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::MemoryEvent;

    #[test]
    fn levels_and_peaks_of_a_worked_example() {
        let event = |time_ns, owner: &str, bytes| MemoryEvent {
            time_ns,
            owner: owner.into(),
            bytes,
            id: None,
        };
        let trace = Trace {
            memory: vec![
                event(5, "arena", -30),
                event(1, "weights", 100),
                event(2, "arena", 30),
                event(9, "arena", -7),
            ],
            ..Trace::default()
        };
        let found = memory(&trace);
        assert_eq!(found.peak_bytes, 130);
        assert_eq!(found.owners[0].owner, "weights");
        let levels: Vec<u64> = found.owners[1]
            .points
            .iter()
            .map(|point| point.bytes)
            .collect();
        assert_eq!(levels, [30, 0, 0]);
    }
}
