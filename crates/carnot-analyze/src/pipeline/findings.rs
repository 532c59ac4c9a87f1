//! What to look at first: what is wrong before what is merely large.

use carnot_record::SpanKind;
use serde::Serialize;

use super::PipelineAnalysis;

/// How much it matters. What is wrong stands above what is merely large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Something that would be wrong in any pipeline.
    High,
    /// Something past a threshold.
    Medium,
    /// Where the time goes; no fault by itself.
    Low,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which part of the report it comes from: `memory`, `cache`, `streaming`, `layers`, `ranks`, `stages`, `gpu`, `recording`.
    pub category: String,
    /// How much it matters.
    pub priority: Priority,
    /// What was found, with its figures.
    pub issue: String,
    /// What to do.
    pub suggestion: String,
    /// Orders findings of one priority: how far past what is right, 1 being at the threshold.
    pub weight: f64,
}

const DROPS: f64 = 0.01;
const STAGE: f64 = 0.3;
const VAE: f64 = 0.3;
const AGENT: f64 = 0.05;
const STEP_MS: f64 = 200.0;
const STEPS_PER_BLOCK: f64 = 30.0;
const BLOCK_ITEMS: f64 = 8.0;
const LEAST_FPS: f64 = 10.0;
const GOAL_FPS: f64 = 16.0;
const HOT: f64 = 85.0;
const FULL: f64 = 90.0;
const IDLE: f64 = 50.0;

struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        category: &str,
        priority: Priority,
        weight: f64,
        issue: String,
        suggestion: &str,
    ) {
        self.0.push(Finding {
            category: category.to_owned(),
            priority,
            issue,
            suggestion: suggestion.to_owned(),
            weight,
        });
    }
}

/// All findings, what matters most first.
pub(super) fn findings(of: &PipelineAnalysis) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    recording(of, &mut found);
    memory(of, &mut found);
    caches(of, &mut found);
    streaming(of, &mut found);
    layers(of, &mut found);
    stages(of, &mut found);
    machine(of, &mut found);
    let mut found = found.0;
    found.sort_by(|a, b| {
        a.priority
            .cmp(&b.priority)
            .then_with(|| b.weight.total_cmp(&a.weight))
    });
    found
}

fn recording(of: &PipelineAnalysis, found: &mut Findings) {
    let lost: u64 = of.lost.iter().map(|lost| lost.events).sum();
    if lost > 0 {
        let sections: std::collections::BTreeSet<&str> =
            of.lost.iter().map(|lost| lost.section.as_str()).collect();
        let sections: Vec<&str> = sections.into_iter().collect();
        let issue = format!(
            "{lost} events were lost at full buffers; too low: {}",
            sections.join(", ")
        );
        // Whatever else is found stands on what was recorded.
        found.add(
            "recording",
            Priority::High,
            1e9,
            issue,
            "raise buffer_bytes, or record less",
        );
    }
}

fn memory(of: &PipelineAnalysis, found: &mut Findings) {
    for growth in &of.memory.growth {
        let issue = format!(
            "{} grows by {} an iteration ({} to {}, certain to 99 %), over {} iterations",
            growth.what,
            bytes(growth.bytes_per_iteration),
            bytes(growth.low),
            bytes(growth.high),
            growth.iterations
        );
        // An owner's own count is exact, and so weighs more than what is sampled of the process.
        let weight = if growth.what.contains('/') {
            2.0
        } else {
            100.0
        };
        found.add(
            "memory",
            Priority::High,
            weight,
            issue,
            "find what keeps it: an owner that takes and does not give back",
        );
    }
    for pool in of
        .memory
        .pools
        .iter()
        .filter(|pool| pool.fragmentation > 0.3 && pool.reserved_bytes > 64e6)
    {
        let issue = format!(
            "{} has {} and uses {} of it: {:.0} % lies idle",
            pool.name,
            bytes(pool.reserved_bytes),
            bytes(pool.used_bytes),
            100.0 * pool.fragmentation
        );
        found.add(
            "memory",
            Priority::Medium,
            pool.fragmentation,
            issue,
            "reuse buffers of one size, or trim the pool between sessions",
        );
    }
}

fn caches(of: &PipelineAnalysis, found: &mut Findings) {
    for cache in of.caches.iter().filter(|cache| cache.is_thrashing) {
        let size = cache.advised.map_or_else(String::new, |(size, ratio)| {
            format!("; with {size} entries it would miss {:.0} %", 100.0 * ratio)
        });
        let issue = format!(
            "cache {} throws out what is asked for again: {:.0} % of {} look-ups miss, {} evictions{size}",
            cache.cache,
            100.0 * cache.miss_rate,
            cache.requests,
            cache.evictions
        );
        let advice = "give it the room that the curve advises, or ask in another order";
        found.add(
            "cache",
            Priority::High,
            50.0 * cache.miss_rate,
            issue,
            advice,
        );
    }
}

fn streaming(of: &PipelineAnalysis, found: &mut Findings) {
    for stream in &of.streaming {
        let name = &stream.stream;
        if stream.drop_share >= DROPS {
            let issue = format!(
                "{name} gives up {:.1} % of its frames: {} of {}",
                100.0 * stream.drop_share,
                stream.dropped,
                stream.dropped + stream.frames
            );
            let weight = 10.0 * stream.drop_share / DROPS;
            found.add("streaming", Priority::High, weight, issue, "make, encode or send faster, or take a longer buffer; see which of the three is longest");
        }
        if let Some(playback) = stream.playback
            && playback.real_time_factor < 1.0
        {
            let issue = format!(
                "{name} is shown at {:.0} frames a second and made at {:.2} times that; it stands still {} times, {:.0} ms in all",
                playback.fps,
                playback.real_time_factor,
                playback.stalls,
                playback.stall_ns as f64 / 1e6
            );
            found.add(
                "streaming",
                Priority::Medium,
                1.0 / playback.real_time_factor.max(0.01),
                issue,
                "the stages of a block must together be shorter than the block is long",
            );
        } else if stream.playback.is_none() && stream.frames > 1 && stream.mean_fps < LEAST_FPS {
            let issue = format!(
                "{name} delivers {:.1} frames a second; below {LEAST_FPS} it is no film, {GOAL_FPS} is smooth",
                stream.mean_fps
            );
            found.add(
                "streaming",
                Priority::Medium,
                LEAST_FPS / stream.mean_fps.max(0.01),
                issue,
                "fewer steps, smaller blocks, or a faster decoder",
            );
        }
    }
}

fn layers(of: &PipelineAnalysis, found: &mut Findings) {
    for layer in of.layers.iter().filter(|layer| layer.is_slow) {
        let over = layer.over_like.unwrap_or(1.0);
        let issue = format!(
            "layer {} takes {:.0} % longer than the layers that do the same: {:.3} ms in the median",
            layer.name,
            100.0 * (over - 1.0),
            layer.time.p50_ns as f64 / 1e6
        );
        found.add(
            "layers",
            Priority::High,
            20.0 * over,
            issue,
            "look at what it does that they do not: a copy, another type, another device",
        );
    }
    for layer in of.layers.iter().filter(|layer| layer.share > STAGE).take(3) {
        let issue = format!(
            "layer {} takes {:.0} % of all layers' time",
            layer.name,
            100.0 * layer.share
        );
        found.add(
            "layers",
            Priority::Low,
            layer.share / STAGE,
            issue,
            "see how far it is from its floor before changing anything",
        );
    }
}

fn stages(of: &PipelineAnalysis, found: &mut Findings) {
    for part in of.overall.iter().filter(|part| part.share > STAGE).take(3) {
        let issue = format!(
            "{} takes {:.0} % of the session",
            part.name,
            100.0 * part.share
        );
        let advice = match part.name.as_str() {
            "outside of stages" => "put a stage around what is there, to see what it is",
            name if is_decoder(name) && part.share > VAE => {
                "a faster or smaller decoder, or fewer decodes"
            }
            _ => "it is where making anything faster pays most",
        };
        found.add("stages", Priority::Low, part.share / STAGE, issue, advice);
    }
    for (stage, part) in of
        .components
        .iter()
        .flat_map(|of| of.parts.iter().map(move |part| (&of.stage, part)))
    {
        let name = part.name.to_lowercase();
        if (name.contains("agent") || name.contains("llm")) && part.share > AGENT {
            let issue = format!("{} takes {:.1} % of {stage}", part.name, 100.0 * part.share);
            found.add(
                "stages",
                Priority::Medium,
                part.share / AGENT,
                issue,
                "a smaller language model, or fewer prompts",
            );
        }
    }
    for iterations in &of.iterations {
        let mean_ms = iterations.time.mean_ns / 1e6;
        match iterations.kind {
            SpanKind::Step if mean_ms > STEP_MS => {
                let issue = format!(
                    "a step ({}) takes {mean_ms:.0} ms in the mean; below {STEP_MS:.0} is usual",
                    iterations.name
                );
                found.add(
                    "stages",
                    Priority::Low,
                    mean_ms / STEP_MS,
                    issue,
                    "smaller blocks, or a faster model",
                );
            }
            SpanKind::Block => {
                let items = iterations.items as f64 / iterations.time.count.max(1) as f64;
                if items > BLOCK_ITEMS {
                    let issue = format!(
                        "a block ({}) makes {items:.1} {} in the mean; more than {BLOCK_ITEMS:.0} delay the first",
                        iterations.name, of.session.unit
                    );
                    found.add(
                        "stages",
                        Priority::Low,
                        items / BLOCK_ITEMS,
                        issue,
                        "smaller blocks",
                    );
                }
                let steps: u64 = of
                    .iterations
                    .iter()
                    .filter(|of| of.kind == SpanKind::Step)
                    .map(|of| of.time.count)
                    .sum();
                let each = steps as f64 / iterations.time.count.max(1) as f64;
                if each > STEPS_PER_BLOCK {
                    let issue = format!(
                        "{each:.0} steps make a block; distilled models need four to eight"
                    );
                    found.add(
                        "stages",
                        Priority::Low,
                        each / STEPS_PER_BLOCK,
                        issue,
                        "fewer steps, or a distilled model",
                    );
                }
            }
            _ => {}
        }
    }
}

fn is_decoder(name: &str) -> bool {
    name.contains("vae") || name.contains("decod")
}

fn machine(of: &PipelineAnalysis, found: &mut Findings) {
    let counter = |name: &str| of.counters.iter().find(|counter| counter.name == name);
    let gpus = of
        .counters
        .iter()
        .filter_map(|counter| counter.name.strip_suffix("/utilization_percent"));
    for gpu in gpus.filter(|name| name.starts_with("gpu")) {
        if let Some(used) =
            counter(&format!("{gpu}/utilization_percent")).filter(|used| used.mean < IDLE)
        {
            let issue = format!("{gpu} is used {:.0} % in the mean", used.mean);
            found.add(
                "gpu",
                Priority::Medium,
                IDLE / used.mean.max(1.0),
                issue,
                "larger batches, or the host's work beside the device's",
            );
        }
        let memory = [
            counter(&format!("{gpu}/memory_used_bytes")),
            counter(&format!("{gpu}/memory_total_bytes")),
        ];
        if let [Some(used), Some(total)] = memory
            && 100.0 * used.max > FULL * total.max
        {
            let issue = format!(
                "{gpu} had {} of its {} in use",
                bytes(used.max),
                bytes(total.max)
            );
            found.add(
                "gpu",
                Priority::Medium,
                used.max / total.max,
                issue,
                "smaller batches or caches, before something fails",
            );
        }
        if let Some(hot) =
            counter(&format!("{gpu}/temperature_celsius")).filter(|hot| hot.max > HOT)
        {
            let issue = format!(
                "{gpu} reached {:.0} °C; above {HOT:.0} it slows itself down",
                hot.max
            );
            found.add(
                "gpu",
                Priority::Medium,
                hot.max / HOT,
                issue,
                "cooling, or a lower power limit",
            );
        }
    }
}

/// Such as `1.5 MiB`.
pub(super) fn bytes(bytes: f64) -> String {
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 1024.0 && unit < 4 {
        value /= 1024.0;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
    if unit == 0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.2} {name}")
    }
}
