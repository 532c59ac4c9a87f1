//! For programs: the sections by the names that profilers of video pipelines use, times in milliseconds, and under `carnot` the whole analysis.
//!
//! A section is there if there is something to say in it. `docs/pipelines.md` names each field, and where its meaning differs from what
//! others under the same name counted wrongly.

use carnot_analyze::pipeline::{
    CounterTime, Finding, Iterations, PipelineAnalysis, Priority, Ranks, Spread, Streaming,
};
use carnot_record::{SpanKind, Utc};
use serde_json::{Map, Value, json};

pub(super) fn render(of: &PipelineAnalysis, ranks: Option<&Ranks>) -> String {
    let mut report = Map::new();
    let mut section = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            report.insert(name.to_owned(), value);
        }
    };
    section("schema", Some("carnot.pipeline".into()));
    section("version", Some(1.into()));
    section("session_info", Some(session_info(of)));
    section(
        "summary",
        Some(json!({"gpu": gpu_summary(of), "cpu": cpu_summary(of)})),
    );
    section("gpu_metrics", gpu_metrics(of));
    section("cpu_metrics", cpu_metrics(of));
    section("stage_analysis", Some(stage_analysis(of)));
    section("events", Some(json!(of.notes)));
    section("recommendations", Some(recommendations(of, ranks)));
    section(
        "streaming_analysis",
        of.streaming.first().map(streaming_analysis),
    );
    section("computation_analysis", computation_analysis(of));
    section("memory_analysis", memory_analysis(of));
    section("cache_analysis", cache_analysis(of));
    section(
        "diffusion_analysis",
        iterations(of, SpanKind::Step, "steps"),
    );
    section("block_analysis", iterations(of, SpanKind::Block, "blocks"));
    section("model_analysis", model_analysis(of));
    section("ranks", ranks.map(|ranks| json!(ranks)));
    section("carnot", Some(json!(of)));
    let mut text = serde_json::to_string_pretty(&report).expect("strings and numbers are JSON");
    text.push('\n');
    text
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn session_info(of: &PipelineAnalysis) -> Value {
    let seconds = |ns: u64| ns / 1_000_000_000;
    let begun = of.session.started_unix_ns;
    json!({
        "id": of.session.id,
        "start_time": Utc::of(seconds(begun)).to_string(),
        "end_time": Utc::of(seconds(begun + of.wall_ns)).to_string(),
        "duration": of.wall_ns as f64 / 1e9,
        "tags": of.session.tags,
        "outcome": of.session.outcome,
        "unit": of.session.unit,
        "host": of.session.host,
        "rank": of.session.rank,
    })
}

fn counter<'a>(of: &'a PipelineAnalysis, name: &str) -> Option<&'a CounterTime> {
    of.counters.iter().find(|counter| counter.name == name)
}

/// Graphics processors that were watched, such as `gpu0`.
fn gpus(of: &PipelineAnalysis) -> Vec<String> {
    let mut names: Vec<String> = of
        .counters
        .iter()
        .filter_map(|counter| counter.name.split_once('/'))
        .filter(|(whose, _)| {
            whose
                .strip_prefix("gpu")
                .is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .map(|(whose, _)| whose.to_owned())
        .collect();
    names.dedup();
    names
}

fn gpu_summary(of: &PipelineAnalysis) -> Value {
    let all: Vec<Value> = gpus(of)
        .iter()
        .map(|gpu| {
            let get = |what: &str| counter(of, &format!("{gpu}/{what}"));
            let used = get("memory_used_bytes");
            let total = get("memory_total_bytes").map(|total| total.max);
            json!({
                "device": gpu,
                "peak_memory_usage_mb": used.map(|used| used.max / 1e6),
                "avg_memory_usage_mb": used.map(|used| used.mean / 1e6),
                "peak_memory_utilization": used.zip(total).map(|(used, total)| 100.0 * used.max / total),
                "avg_gpu_utilization": get("utilization_percent").map(|of| of.mean),
                "peak_gpu_utilization": get("utilization_percent").map(|of| of.max),
            })
        })
        .collect();
    if all.is_empty() {
        Value::Null
    } else {
        all.into()
    }
}

fn cpu_summary(of: &PipelineAnalysis) -> Value {
    let (cpu, memory) = (
        counter(of, "host/cpu_percent"),
        counter(of, "host/memory_used_bytes"),
    );
    json!({
        "avg_cpu_usage": cpu.map(|cpu| cpu.mean),
        "peak_cpu_usage": cpu.map(|cpu| cpu.max),
        "avg_memory_usage_mb": memory.map(|memory| memory.mean / 1e6),
        "peak_memory_usage_mb": memory.map(|memory| memory.max / 1e6),
        "process_peak_memory_mb": counter(of, "process/resident_bytes").map(|process| process.max / 1e6),
    })
}

/// Minimum, mean and maximum, in units of `scale`.
fn span_of(counter: Option<&CounterTime>, scale: f64) -> Value {
    counter.map_or(Value::Null, |of| {
        json!({"min": of.min / scale, "avg": of.mean / scale, "peak": of.max / scale, "samples": of.samples, "timeline": of.curve.points})
    })
}

fn gpu_metrics(of: &PipelineAnalysis) -> Option<Value> {
    let all = gpus(of).into_iter().map(|gpu| {
        let get = |what: &str| counter(of, &format!("{gpu}/{what}"));
        let temperature = get("temperature_celsius");
        let power = get("power_watts");
        let metrics = json!({
            "memory_analysis": span_of(get("memory_used_bytes"), 1e6),
            "total_memory_mb": get("memory_total_bytes").map(|total| total.max / 1e6),
            "utilization_analysis": span_of(get("utilization_percent"), 1.0),
            "temperature_analysis": span_of(temperature, 1.0),
            "thermal_throttling_risk": temperature.map(|of| of.max > 85.0),
            "power_analysis": span_of(power, 1.0),
            "total_energy_wh": power.and_then(|power| power.watt_hours),
        });
        (gpu, metrics)
    });
    let all: Map<String, Value> = all.collect();
    (!all.is_empty()).then(|| all.into())
}

fn cpu_metrics(of: &PipelineAnalysis) -> Option<Value> {
    let cpu = counter(of, "host/cpu_percent");
    let process = counter(of, "process/cpu_cores");
    (cpu.is_some() || process.is_some()).then(|| {
        json!({
            "total_samples": cpu.or(process).map(|of| of.samples),
            "cpu_analysis": span_of(cpu, 1.0),
            "process_cores": span_of(process, 1.0),
            "memory_analysis": span_of(counter(of, "host/memory_used_bytes"), 1e6),
            "process_memory": span_of(counter(of, "process/resident_bytes"), 1e6),
        })
    })
}

fn stage_analysis(of: &PipelineAnalysis) -> Value {
    let stages: Map<String, Value> = of
        .stages
        .iter()
        .filter(|stage| matches!(stage.kind, SpanKind::Stage | SpanKind::Phase))
        .map(|stage| {
            let times = json!({
                "total_time": stage.time.total_ns as f64 / 1e9,
                "self_time": stage.self_ns as f64 / 1e9,
                "call_count": stage.time.count,
                "avg_time": stage.time.mean_ns / 1e9,
                "min_time": stage.time.min_ns as f64 / 1e9,
                "max_time": stage.time.max_ns as f64 / 1e9,
                "p50_ms": ms(stage.time.p50_ns),
                "p95_ms": ms(stage.time.p95_ns),
                "p99_ms": ms(stage.time.p99_ns),
                "percentage_of_total": 100.0 * stage.share,
                "percentage_of_total_itself": 100.0 * stage.self_share,
                "items": stage.items,
                "items_per_second": stage.items_per_s,
            });
            (stage.name.clone(), times)
        })
        .collect();
    let bottlenecks: Vec<&str> = of
        .overall
        .iter()
        .filter(|part| part.share > 0.3)
        .map(|part| part.name.as_str())
        .collect();
    json!({
        "total_stages": stages.len(),
        "total_time": of.wall_ns as f64 / 1e9,
        "stages": stages,
        "bottlenecks": bottlenecks,
        "overall": of.overall,
        "components": of.components,
    })
}

fn recommendations(of: &PipelineAnalysis, ranks: Option<&Ranks>) -> Value {
    let told = |finding: &Finding| {
        let priority = match finding.priority {
            Priority::High => "high",
            Priority::Medium => "medium",
            Priority::Low => "low",
        };
        json!({"category": finding.category, "priority": priority, "issue": finding.issue, "suggestion": finding.suggestion})
    };
    let of_ranks = ranks.iter().flat_map(|ranks| &ranks.findings);
    of_ranks
        .chain(&of.findings)
        .map(told)
        .collect::<Vec<_>>()
        .into()
}

fn streaming_analysis(of: &Streaming) -> Value {
    json!({
        "total_streaming_events": of.deliveries,
        "total_frames_streamed": of.frames,
        "total_dropped_frames": of.dropped,
        "current_fps": of.current_fps,
        "mean_fps": of.mean_fps,
        "avg_encoding_time_ms": of.encode.mean_ns / 1e6,
        "avg_network_latency_ms": of.send.mean_ns / 1e6,
        "drop_rate_percent": 100.0 * of.drop_share,
        "buffer_occupancy": of.occupancy,
        "first_frame_ms": ms(of.first_frame_ns),
        "jitter_ms": ms(of.jitter_ns),
        "playback": of.playback,
        "prompt_latency": of.prompt_latency,
    })
}

fn times(time: &Spread) -> Value {
    json!({
        "avg_time_ms": time.mean_ns / 1e6,
        "min_time_ms": ms(time.min_ns),
        "max_time_ms": ms(time.max_ns),
        "p50_time_ms": ms(time.p50_ns),
        "p99_time_ms": ms(time.p99_ns),
        "total_time_ms": ms(time.total_ns),
        "call_count": time.count,
    })
}

fn computation_analysis(of: &PipelineAnalysis) -> Option<Value> {
    let layers: Map<String, Value> = of
        .layers
        .iter()
        .map(|layer| {
            let mut told = times(&layer.time);
            told["flops"] = layer.flops.into();
            told["flops_per_second"] = layer.flops_per_s.into();
            told["floor_ms"] = ms(layer.floor_ns).into();
            let index = layer
                .index
                .map_or_else(String::new, |index| format!(" {index}"));
            // Layers of one name and different numbers are different layers.
            let is_named = !index.is_empty() && !layer.name.chars().any(|c| c.is_ascii_digit());
            (
                format!(
                    "{}{}",
                    layer.name,
                    if is_named { index.as_str() } else { "" }
                ),
                told,
            )
        })
        .collect();
    let slow = of
        .layers
        .iter()
        .filter(|layer| layer.share > 0.3 || layer.is_slow)
        .map(|layer| layer.name.as_str());
    let slow: Vec<&str> = slow.collect();
    (!layers.is_empty()).then(|| json!({"layer_performance": layers, "bottlenecks": slow}))
}

fn memory_analysis(of: &PipelineAnalysis) -> Option<Value> {
    let patterns = of.memory.owners.iter().map(|owner| {
        let told = json!({
            "total_allocations": owner.allocations,
            "total_deallocations": owner.releases,
            "total_bytes_allocated": owner.allocated_bytes,
            "total_bytes_released": owner.released_bytes,
            "avg_allocation_size_bytes": owner.mean_bytes,
            "max_allocation_size_bytes": owner.max_bytes,
            "min_allocation_size_bytes": owner.min_bytes,
            "small_allocation_ratio": owner.small_share,
            "live_bytes": owner.live_bytes,
            "peak_bytes": owner.peak_bytes,
            "size_classes": owner.size_classes,
            "lifetime": owner.lifetime,
        });
        (owner.owner.clone(), told)
    });
    let patterns: Map<String, Value> = patterns.collect();
    let has_any =
        !patterns.is_empty() || !of.memory.pools.is_empty() || !of.places.places.is_empty();
    has_any.then(|| {
        json!({
            "allocation_patterns": patterns,
            "fragmentation_analysis": {"pools": of.memory.pools},
            "peak_bytes": of.memory.peak_bytes,
            "live_at_peak": of.memory.at_peak,
            "growth": of.memory.growth,
            "allocation_places": of.places,
        })
    })
}

fn cache_analysis(of: &PipelineAnalysis) -> Option<Value> {
    let caches = of.caches.iter().map(|cache| {
        let told = json!({
            "cache_performance": {"hits": cache.hits, "misses": cache.misses, "evictions": cache.evictions, "total_requests": cache.requests},
            "cache_efficiency": {"hit_rate": cache.hit_rate, "miss_rate": cache.miss_rate, "eviction_rate": cache.eviction_rate},
            "miss_ratio_curve": cache.miss_ratio_curve,
            "advised_entries": cache.advised.map(|(size, _)| size),
        });
        (cache.cache.clone(), told)
    });
    let caches: Map<String, Value> = caches.collect();
    (!caches.is_empty()).then(|| caches.into())
}

fn iterations(of: &PipelineAnalysis, kind: SpanKind, name: &str) -> Option<Value> {
    let all: Vec<&Iterations> = of.iterations.iter().filter(|of| of.kind == kind).collect();
    let most = all.iter().max_by_key(|of| of.time.total_ns)?;
    let seconds = most.time.total_ns as f64 / 1e9;
    let rate = |count: u64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    let mut told = Map::new();
    told.insert(format!("total_{name}"), most.time.count.into());
    told.insert(name.to_owned(), json!(most.rows));
    told.insert("left_out".to_owned(), most.left_out.into());
    told.insert(
        "total_computation_time_ms".to_owned(),
        ms(most.time.total_ns).into(),
    );
    told.insert(
        "avg_computation_time_ms".to_owned(),
        (most.time.mean_ns / 1e6).into(),
    );
    told.insert(
        "min_computation_time_ms".to_owned(),
        ms(most.time.min_ns).into(),
    );
    told.insert(
        "max_computation_time_ms".to_owned(),
        ms(most.time.max_ns).into(),
    );
    told.insert("total_frames".to_owned(), most.items.into());
    told.insert("fps".to_owned(), rate(most.items).into());
    told.insert("bps".to_owned(), rate(most.time.count).into());
    Some(told.into())
}

fn model_analysis(of: &PipelineAnalysis) -> Option<Value> {
    let models = &of.session.models;
    let all: u64 = models.iter().map(|model| model.parameters).sum();
    let readable = match all {
        1_000_000_000.. => format!("{:.2}B", all as f64 / 1e9),
        1_000_000.. => format!("{:.2}M", all as f64 / 1e6),
        _ => all.to_string(),
    };
    let each: Map<String, Value> = models
        .iter()
        .map(|model| {
            (
                model.name.clone(),
                json!({"parameters_count": model.parameters, "model_type": model.kind}),
            )
        })
        .collect();
    (!models.is_empty()).then(
        || json!({"models": each, "total_parameters": all, "total_parameters_readable": readable}),
    )
}
