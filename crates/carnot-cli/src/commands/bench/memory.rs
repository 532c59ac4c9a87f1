//! `carnot bench memory`: whose memory it is, what a token and what a request add to it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use carnot_analyze::{MachineProfile, RunInfo, analyze};
use carnot_engine::TextEngine;
use carnot_record::{BenchRecord, Better, Metric, Series};
use carnot_samplers::{cores, memory};
use carnot_sampling::heap::{self, Heap};

use super::inference::conditions;
use super::resident::resident_bytes;
use super::results::{self, Beginning};
use super::stamp;
use crate::capture::trace_of;
use crate::cli::{MemoryArguments, WorkloadArguments};
use crate::generation::generate;
use crate::model_source::{self, Loaded};
use crate::printer::{Printer, Unit};
use crate::workload::Workload;
use crate::{interrupt, stacks};

pub fn execute(arguments: &MemoryArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (record, heap) = measure(arguments, printer)?;
    let folder = arguments.result.output.as_deref();
    if let Some(folder) = folder.filter(|_| arguments.stacks.profile) {
        let title = "carnot bench memory · bytes that a request allocates, by call path".to_owned();
        stacks::write(&stacks::of_allocations(&heap, title), folder, "memory")?;
    }
    results::give(&record, &arguments.result, printer)
}

/// Bytes, as they were observed.
struct Observed {
    start: f64,
    loaded: f64,
    /// Resident after each request.
    after: Vec<f64>,
    /// The most that each owner held.
    owners: BTreeMap<String, u64>,
    peak: f64,
    load_s: f64,
    /// What the allocator had of the system and nobody held, after the last request.
    free: Option<f64>,
    /// Of one request more.
    heap: Heap,
    /// Of a request, prompt and answer.
    tokens: usize,
}

/// The record, and the allocations of a request.
fn measure(arguments: &MemoryArguments, printer: &Printer) -> anyhow::Result<(BenchRecord, Heap)> {
    let beginning = Beginning::of("memory");
    let WorkloadArguments { model, .. } = &arguments.workload;
    interrupt::listen();
    let start = resident_bytes()?;
    carnot_probe::enable();
    let cost = carnot_probe::measure_cost();
    drop(carnot_probe::drain());
    let begin = Instant::now();
    let Loaded {
        mut engine,
        warnings,
    } = model_source::load(model, printer)?;
    let request = Workload::from(&arguments.workload).request(&engine)?;
    let mut observed = Observed {
        start,
        loaded: resident_bytes()?,
        after: Vec::new(),
        owners: BTreeMap::new(),
        peak: 0.0,
        load_s: begin.elapsed().as_secs_f64(),
        free: None,
        heap: Heap::default(),
        tokens: request.prompt.len() + request.max_tokens,
    };
    let bar = printer.progress("requests", Unit::Steps);
    bar.set_length(arguments.requests as u64);
    for _ in 0..arguments.requests {
        generate(&mut engine, request.clone(), |_| Ok(()))?;
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        observed.after.push(resident_bytes()?);
        let trace = trace_of(&carnot_probe::drain(), &cost);
        let analysis = analyze(&trace, &MachineProfile::default(), &RunInfo::default());
        for owner in analysis.memory.owners {
            let most = observed.owners.entry(owner.owner).or_default();
            *most = (*most).max(owner.peak_bytes);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    observed.free = heap::free_bytes().map(|bytes| bytes as f64);
    // Before allocations are tracked, which takes memory itself.
    observed.peak = memory::peak_bytes().map_or(0.0, |bytes| bytes as f64);
    observed.heap = stacks::allocations(&mut engine, &request)?;
    let threads = model
        .compute
        .threads
        .map_or_else(cores::usable, usize::from);
    let mut record = BenchRecord {
        model: Some(model_source::summary(engine.model())),
        machine: stamp::here(threads),
        conditions: conditions(&arguments.workload, request.prompt.len()),
        warnings,
        ..beginning.record()
    };
    let requests = ("requests".to_owned(), arguments.requests.to_string());
    record.conditions.extend([requests]);
    observed.tell(&mut record);
    record.allocations = stacks::sites(&observed.heap);
    Ok((record, observed.heap))
}

impl Observed {
    fn tell(&self, record: &mut BenchRecord) {
        let bytes =
            |name: &str, values: Vec<f64>| Metric::repeated(name, "bytes", Better::Lower, values);
        let live: f64 = self.owners.values().map(|&bytes| bytes as f64).sum();
        let growth = self.after.windows(2).map(|pair| pair[1] - pair[0]);
        let kv = self.owners.get("kv_cache");
        let kv = kv.map(|&bytes| bytes as f64 / self.tokens as f64);
        let score = live / self.peak.max(1.0);
        record.metrics = vec![
            bytes("peak", vec![self.peak]).with_limit(live),
            bytes("resident_after_a_request", self.after.clone()),
            bytes("growth_of_a_request", growth.collect()),
            bytes("kv_cache_of_a_token", Vec::from_iter(kv)),
            bytes("load_delta", vec![self.loaded - self.start]),
        ];
        let owner =
            |(owner, &held): (&String, &u64)| bytes(&format!("live_{owner}"), vec![held as f64]);
        record.metrics.extend(self.owners.iter().map(owner));
        // What nobody has told of: code, stacks, the heap, pages that are kept for later.
        let beyond = vec![(self.peak - live).max(0.0)];
        record.metrics.push(bytes("resident_beyond_live", beyond));
        let one = |name: &str, unit: &str, value: f64| {
            Metric::repeated(name, unit, Better::Lower, vec![value])
        };
        record
            .metrics
            .extend(self.free.map(|free| one("fragmentation", "bytes", free)));
        record.metrics.extend([
            one("allocations_of_a_request", "", self.heap.allocations as f64),
            one("allocated_by_a_request", "bytes", self.heap.bytes as f64),
            one("kept_by_a_request", "bytes", self.heap.live_bytes as f64),
        ]);
        let score_metric =
            Metric::repeated("efficiency_score", "share", Better::Higher, vec![score]);
        record.metrics.push(score_metric);
        record.metrics.retain(|metric| !metric.values.is_empty());
        let size = record
            .model
            .as_ref()
            .map_or(0.0, |model| model.bytes as f64);
        record.summary = [
            ("initial_memory_mb", self.start / 1e6),
            ("peak_memory_mb", self.peak / 1e6),
            ("total_peak_delta_mb", (self.peak - self.start) / 1e6),
            ("model_size_mb", size / 1e6),
            ("memory_efficiency", score),
            ("model_loading_time_ms", 1e3 * self.load_s),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let points = (1..)
            .zip(&self.after)
            .map(|(index, &bytes)| [f64::from(index), bytes]);
        record.series = vec![Series {
            plot: "Resident after each request".to_owned(),
            name: "resident".to_owned(),
            x: "request, ".to_owned(),
            y: "resident, bytes".to_owned(),
            points: points.collect(),
        }];
        let sizes = (0..)
            .zip(&self.heap.classes)
            .filter(|(_, (count, _))| *count > 0);
        record.series.push(Series {
            plot: "Allocations of a request".to_owned(),
            name: "up to this size".to_owned(),
            x: "size, bytes".to_owned(),
            y: "allocations, ".to_owned(),
            points: sizes
                .map(|(class, (count, _))| [f64::from(class).exp2(), *count as f64])
                .collect(),
        });
    }
}
