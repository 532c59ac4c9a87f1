//! Layers: which take how long, how far from their floor, and which is slower than those that do the same.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Group;
use super::histogram::{Histogram, Spread};
use crate::statistics::ratio;

/// A layer this much slower than its like, in the median, is slow.
const SLOW: f64 = 1.15;
/// So many of a kind make a like.
const LIKE: usize = 3;

/// One layer of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTime {
    /// Its name.
    pub name: String,
    /// Its number, where it has one.
    pub index: Option<u32>,
    /// How long each call took.
    pub time: Spread,
    /// Its time over that of all layers.
    pub share: f64,
    /// Operations of all calls.
    pub flops: u64,
    /// Bytes of all calls.
    pub bytes: u64,
    /// Operations a second.
    pub flops_per_s: f64,
    /// The least time that all calls can take on this machine; 0 where nobody knows.
    pub floor_ns: u64,
    /// The median of one call over that of the layers that do the same; `None` where there are too few.
    pub over_like: Option<f64>,
    /// Whether that is so much that it is no chance.
    pub is_slow: bool,
}

#[derive(Debug, Default)]
struct Layer {
    time: Histogram,
    flops: u64,
    bytes: u64,
    floor_ns: u64,
}

/// Layers as spans go by.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<(Group, Option<u32>), Layer>);

impl Layers {
    pub fn add(
        &mut self,
        group: Group,
        index: Option<u32>,
        ns: u64,
        flops: u64,
        bytes: u64,
        floor_ns: u64,
    ) {
        let layer = self.0.entry((group, index)).or_default();
        layer.time.add(ns);
        layer.flops = layer.flops.saturating_add(flops);
        layer.bytes = layer.bytes.saturating_add(bytes);
        layer.floor_ns += floor_ns;
    }

    /// The longest first.
    pub fn finish(self, name: impl Fn(Group) -> String) -> Vec<LayerTime> {
        let all: u64 = self.0.values().map(|layer| layer.time.total()).sum();
        let mut rows: Vec<LayerTime> = self
            .0
            .into_iter()
            .map(|((group, index), layer)| row(name(group), index, &layer, all))
            .collect();
        compare(&mut rows);
        rows.sort_by(|a, b| {
            b.time
                .total_ns
                .cmp(&a.time.total_ns)
                .then_with(|| (&a.name, a.index).cmp(&(&b.name, b.index)))
        });
        rows
    }
}

fn row(name: String, index: Option<u32>, layer: &Layer, all_ns: u64) -> LayerTime {
    let time = layer.time.spread();
    LayerTime {
        name,
        index,
        share: ratio(time.total_ns as f64, all_ns as f64),
        flops: layer.flops,
        bytes: layer.bytes,
        flops_per_s: ratio(layer.flops as f64 * 1e9, time.total_ns as f64),
        floor_ns: layer.floor_ns,
        over_like: None,
        is_slow: false,
        time,
    }
}

/// Layers do the same if their names differ in numbers alone, and each call does as many operations.
fn compare(rows: &mut [LayerTime]) {
    let mut like: BTreeMap<(String, u64), Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let flops = row.flops / row.time.count.max(1);
        like.entry((without_numbers(&row.name), flops))
            .or_default()
            .push(at);
    }
    for members in like.values().filter(|members| members.len() >= LIKE) {
        let mut medians: Vec<u64> = members.iter().map(|&at| rows[at].time.p50_ns).collect();
        medians.sort_unstable();
        let middle = medians[medians.len() / 2] as f64;
        let mut apart: Vec<f64> = medians
            .iter()
            .map(|&ns| (ns as f64 - middle).abs())
            .collect();
        apart.sort_by(f64::total_cmp);
        let spread = apart[apart.len() / 2];
        for &at in members {
            let own = rows[at].time.p50_ns as f64;
            rows[at].over_like = Some(ratio(own, middle));
            // Three of the spreads that half of them keep within, and more than chance does to one call.
            rows[at].is_slow =
                own > SLOW * middle && own - middle > 3.0 * spread && rows[at].time.count >= 5;
        }
    }
}

/// Each run of digits as one `#`.
fn without_numbers(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(slower: f64) -> Vec<LayerTime> {
        let mut layers = Layers::default();
        for call in 0..20_u64 {
            for index in 0..8_u32 {
                let noise = (call * 7 + u64::from(index) * 3) % 11;
                let ns = (1000.0 * if index == 5 { slower } else { 1.0 }) as u64 + noise;
                layers.add(index, Some(index), ns, 64, 32, 500);
            }
        }
        layers.finish(|group| format!("blocks.{group}.attention"))
    }

    #[test]
    fn the_slow_layer_is_the_only_one() {
        let found = layers(1.3);
        let slow: Vec<_> = found
            .iter()
            .filter(|row| row.is_slow)
            .map(|row| row.name.as_str())
            .collect();
        assert_eq!(slow, ["blocks.5.attention"]);
        assert!((found[0].over_like.unwrap() - 1.3).abs() < 0.01);
        assert!(layers(1.05).iter().all(|row| !row.is_slow));
        assert!((found.iter().map(|row| row.share).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn names_differ_in_numbers_alone() {
        assert_eq!(without_numbers("blocks.12.attn3"), "blocks.#.attn#");
    }
}
