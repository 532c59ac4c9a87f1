//! The sections beside the stages: streams, layers, models, memory, caches, values over time, ranks.

use carnot_analyze::pipeline::{PipelineAnalysis, Ranks, Streaming};

use super::{ENDS, MOST, Section, Table, spread};
use crate::units;

pub(super) fn streaming(of: &Streaming, unit: &str) -> Section {
    let time = |ns: u64| units::duration(ns as f64);
    let mut rows = vec![
        [
            "delivered".to_owned(),
            format!(
                "{} {unit} in {} deliveries",
                units::count(of.frames),
                units::count(of.deliveries)
            ),
        ],
        [
            "given up".to_owned(),
            format!(
                "{} ({})",
                units::count(of.dropped),
                units::percent(of.drop_share)
            ),
        ],
        ["first frame".to_owned(), time(of.first_frame_ns)],
        [
            "rate".to_owned(),
            format!(
                "{}/s in the mean, {}/s over the last two seconds",
                units::digits(of.mean_fps),
                units::digits(of.current_fps)
            ),
        ],
        ["interval".to_owned(), spread(&of.interval)],
        [
            "jitter".to_owned(),
            format!(
                "{} (p99 − p50), {} (root mean square)",
                time(of.jitter_ns),
                units::duration(of.reproduction_jitter_ns)
            ),
        ],
        ["making".to_owned(), spread(&of.generate)],
        ["encoding".to_owned(), spread(&of.encode)],
    ];
    if of.send.max_ns > 0 {
        rows.push(["sending".to_owned(), spread(&of.send)]);
    }
    if let Some(occupancy) = of.occupancy {
        rows.push([
            "buffer".to_owned(),
            format!(
                "{} to {}, {} in the mean",
                occupancy.min,
                occupancy.max,
                units::digits(occupancy.mean)
            ),
        ]);
    }
    if of.bytes > 0 {
        rows.push(["encoded".to_owned(), units::bytes(of.bytes as f64)]);
    }
    match of.playback {
        Some(playback) => rows.push([
            format!("shown at {}/s", units::digits(playback.fps)),
            format!(
                "{} × real time; stands still {} times, {}; {} deliveries late",
                units::digits(playback.real_time_factor),
                playback.stalls,
                time(playback.stall_ns),
                playback.deadline_misses
            ),
        ]),
        None => rows.push([
            "real time".to_owned(),
            "not known: say how fast frames are shown (--fps)".to_owned(),
        ]),
    }
    for latency in of.prompt_latency.iter().take(ENDS) {
        rows.push([
            format!("prompt {}", latency.prompt),
            format!("first frame {} after its begin", time(latency.ns)),
        ]);
    }
    Section {
        title: format!("Streaming: {}", of.stream),
        table: Some(Table {
            heads: vec!["what", "how much"],
            rows: rows.into_iter().map(Vec::from).collect(),
            left: 2,
            ..Table::default()
        }),
        ..Section::default()
    }
}

pub(super) fn layers(of: &PipelineAnalysis) -> Option<Section> {
    let row = |layer: &carnot_analyze::pipeline::LayerTime| {
        vec![
            layer.name.clone(),
            units::count(layer.time.count),
            units::duration(layer.time.total_ns as f64),
            units::percent(layer.share),
            units::duration(layer.time.p50_ns as f64),
            if layer.flops > 0 {
                units::operations_per_s(layer.flops_per_s)
            } else {
                String::new()
            },
            if layer.floor_ns > 0 {
                units::whole_percent(layer.floor_ns as f64 / layer.time.total_ns.max(1) as f64)
            } else {
                String::new()
            },
            layer.over_like.map_or_else(String::new, |over| {
                format!(
                    "{}{}",
                    units::digits(over),
                    if layer.is_slow { " slow" } else { "" }
                )
            }),
        ]
    };
    (!of.layers.is_empty()).then(|| Section {
        title: "Computation: layers".to_owned(),
        lines: vec!["The longest first; \"of like\" is the median call over that of the layers that do the same.".to_owned()],
        table: Some(Table {
            heads: vec!["layer", "calls", "total", "share", "p50", "arithmetic", "of limit", "of like"],
            rows: of.layers.iter().take(MOST).map(row).collect(),
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    })
}

pub(super) fn models(of: &PipelineAnalysis) -> Option<Section> {
    let models = &of.session.models;
    let rows = models.iter().map(|model| {
        vec![
            model.name.clone(),
            model.kind.clone(),
            units::amount(model.parameters as f64),
        ]
    });
    let all: u64 = models.iter().map(|model| model.parameters).sum();
    (!models.is_empty()).then(|| Section {
        title: "Models".to_owned(),
        table: Some(Table {
            heads: vec!["model", "kind", "parameters"],
            rows: rows.collect(),
            left: 2,
            ..Table::default()
        }),
        after: vec![format!("{} parameters in all.", units::amount(all as f64))],
        ..Section::default()
    })
}

pub(super) fn memory(of: &PipelineAnalysis) -> Option<Section> {
    let memory = &of.memory;
    let size = |bytes: u64| units::bytes(bytes as f64);
    let rows = memory.owners.iter().take(MOST).map(|owner| {
        vec![
            owner.owner.clone(),
            size(owner.peak_bytes),
            size(owner.live_bytes),
            units::count(owner.allocations),
            units::count(owner.releases),
            units::bytes(owner.mean_bytes),
            units::whole_percent(owner.small_share),
            if owner.lifetime.count > 0 {
                units::duration(owner.lifetime.p50_ns as f64)
            } else {
                String::new()
            },
        ]
    });
    let at_peak: Vec<String> = memory
        .at_peak
        .iter()
        .take(ENDS)
        .map(|(owner, bytes)| format!("{owner} {}", size(*bytes)))
        .collect();
    (!memory.owners.is_empty()).then(|| Section {
        title: "Memory by owner".to_owned(),
        lines: vec![format!(
            "Peak {} after {}: {}.",
            size(memory.peak_bytes),
            units::duration(memory.peak_time_ns as f64),
            at_peak.join(", ")
        )],
        table: Some(Table {
            heads: vec![
                "owner",
                "peak",
                "live",
                "taken",
                "given back",
                "mean size",
                "under 1 MiB",
                "lifetime p50",
            ],
            rows: rows.collect(),
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    })
}

pub(super) fn places(of: &PipelineAnalysis) -> Option<Section> {
    let places = &of.places;
    let size = |bytes: f64| units::bytes(bytes);
    let rows = places.places.iter().take(MOST).map(|place| {
        let function = match place.place.as_str() {
            "" => place.function.clone(),
            at => format!("{} ({at})", place.function),
        };
        vec![
            size(place.at_peak_bytes),
            size(place.live_bytes),
            size(place.allocated_bytes),
            units::count(place.allocations.round() as u64),
            function,
        ]
    });
    let how = if places.mean_bytes > 0 {
        format!(
            "estimated from {} allocations, one for every {} that was asked for",
            units::count(places.samples),
            units::bytes(places.mean_bytes as f64)
        )
    } else {
        "as they were told, not estimated".to_owned()
    };
    let left_out = places.places.len().saturating_sub(MOST);
    (!places.places.is_empty()).then(|| Section {
        title: "Who allocates".to_owned(),
        lines: vec![format!(
            "{} in all, {} at the peak after {}; {how}.",
            size(places.allocated_bytes),
            size(places.peak_bytes),
            units::duration(places.peak_time_ns as f64)
        )],
        table: Some(Table {
            heads: vec![
                "at the peak",
                "live",
                "allocated",
                "allocations",
                "function",
            ],
            rows: rows.collect(),
            left: 0,
            ends_in_words: true,
        }),
        after: if left_out > 0 {
            vec![format!("{left_out} places more.")]
        } else {
            Vec::new()
        },
    })
}

pub(super) fn pools(of: &PipelineAnalysis) -> Option<Section> {
    let rows = of.memory.pools.iter().map(|pool| {
        vec![
            pool.name.clone(),
            units::bytes(pool.reserved_bytes),
            units::bytes(pool.used_bytes),
            units::percent(pool.fragmentation),
        ]
    });
    (!of.memory.pools.is_empty()).then(|| Section {
        title: "Fragmentation of pools".to_owned(),
        table: Some(Table {
            heads: vec!["pool", "has", "uses", "idle"],
            rows: rows.collect(),
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    })
}

pub(super) fn caches(of: &PipelineAnalysis) -> Option<Section> {
    let rows = of.caches.iter().map(|cache| {
        vec![
            cache.cache.clone(),
            units::count(cache.requests),
            units::percent(cache.hit_rate),
            units::percent(cache.miss_rate),
            units::count(cache.evictions),
            units::count(cache.peak_entries),
            units::bytes(cache.peak_resident_bytes as f64),
            cache.advised.map_or_else(
                || "no keys".to_owned(),
                |(size, ratio)| {
                    format!(
                        "{} (misses {})",
                        units::count(size),
                        units::whole_percent(ratio)
                    )
                },
            ),
        ]
    });
    (!of.caches.is_empty()).then(|| Section {
        title: "Caches".to_owned(),
        table: Some(Table {
            heads: vec![
                "cache",
                "look-ups",
                "hits",
                "misses",
                "evictions",
                "entries",
                "bytes",
                "entries advised",
            ],
            rows: rows.collect(),
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    })
}

pub(super) fn machine(of: &PipelineAnalysis) -> Option<Section> {
    let rows = of.counters.iter().take(2 * MOST).map(|counter| {
        let value = |value: f64| figure(&counter.name, value);
        let mut last = value(counter.last);
        if let Some(energy) = counter.watt_hours {
            last = format!("{last} ({energy:.3} Wh)");
        }
        vec![
            counter.name.clone(),
            units::count(counter.samples),
            value(counter.min),
            value(counter.mean),
            value(counter.max),
            last,
        ]
    });
    (!of.counters.is_empty()).then(|| Section {
        title: "Values over time".to_owned(),
        table: Some(Table {
            heads: vec!["counter", "samples", "min", "mean", "max", "last"],
            rows: rows.collect(),
            left: 1,
            ..Table::default()
        }),
        ..Section::default()
    })
}

/// A value in the unit that its name ends in.
fn figure(name: &str, value: f64) -> String {
    let unit = name.rsplit('_').next().unwrap_or_default();
    match unit {
        "bytes" => units::bytes(value),
        "percent" => format!("{value:.1} %"),
        "watts" => format!("{value:.1} W"),
        "celsius" => format!("{value:.0} °C"),
        "seconds" => units::duration(value * 1e9),
        "mhz" => format!("{value:.0} MHz"),
        _ => units::digits(value),
    }
}

pub(super) fn rank_sections(ranks: &Ranks) -> Vec<Section> {
    let time = |ns: u64| units::duration(ns as f64);
    let rows = ranks.ranks.iter().map(|row| {
        let ahead = if row.clock_ahead_ns == 0 {
            String::new()
        } else {
            units::duration(row.clock_ahead_ns as f64)
        };
        let host = row.host.clone();
        vec![
            row.rank.to_string(),
            host,
            time(row.wall_ns),
            time(row.work_ns),
            time(row.wait_ns),
            units::count(row.items),
            units::digits(row.over_median),
            ahead,
            row.outcome.clone(),
        ]
    });
    let stages = ranks.stages.iter().take(MOST).map(|stage| {
        vec![
            stage.name.clone(),
            time(stage.min_ns),
            units::duration(stage.mean_ns),
            time(stage.max_ns),
            time(stage.sum_ns),
            stage.slowest.to_string(),
        ]
    });
    vec![
        Section {
            title: format!("Ranks: {} of {}", ranks.ranks.len(), ranks.world_size),
            lines: vec![format!(
                "Balance {}: the mean of the ranks' own work over the most of them.",
                units::percent(ranks.balance)
            )],
            table: Some(Table {
                heads: vec![
                    "rank",
                    "host",
                    "wall",
                    "work",
                    "waits",
                    "items",
                    "of median",
                    "clock ahead",
                    "end",
                ],
                rows: rows.collect(),
                left: 2,
                ..Table::default()
            }),
            ..Section::default()
        },
        Section {
            title: "Stages over all ranks".to_owned(),
            table: Some(Table {
                heads: vec!["stage", "min", "mean", "max", "sum", "slowest rank"],
                rows: stages.collect(),
                left: 1,
                ..Table::default()
            }),
            ..Section::default()
        },
    ]
}
