//! `carnot bench memory`: whose memory it is, what a token and what a request add to it.

use std::process::ExitCode;
use std::time::Instant;

use carnot_analyze::{MachineProfile, RunInfo, analyze};
use carnot_engine::TextEngine;
use carnot_record::{BenchRecord, Better, MachineSummary, Metric, Series};

use super::inference::conditions;
use super::results::{self, Beginning};
use crate::capture::trace_of;
use crate::cli::MemoryArguments;
use crate::generation::generate;
use crate::model_source::{self, Loaded};
use crate::printer::{Printer, Unit};
use crate::workload::Workload;
use crate::{cores, cpu_info, interrupt, memory};

pub fn execute(arguments: &MemoryArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    results::give(&measure(arguments, printer)?, &arguments.result, printer)
}

fn measure(arguments: &MemoryArguments, printer: &Printer) -> anyhow::Result<BenchRecord> {
    let beginning = Beginning::of("memory");
    interrupt::listen();
    let resident = || memory::resident_bytes().map_or(0.0, |bytes| bytes as f64);
    let mut points = vec![("start", resident())];
    carnot_probe::enable();
    let cost = carnot_probe::measure_cost();
    drop(carnot_probe::drain());
    let begin = Instant::now();
    let Loaded {
        mut engine,
        warnings,
    } = model_source::load(&arguments.workload.model, printer)?;
    let load_s = begin.elapsed().as_secs_f64();
    points.push(("loaded", resident()));
    let request = Workload::from(&arguments.workload).request(&engine)?;
    let bar = printer.progress("requests", Unit::Steps);
    bar.set_length(arguments.requests as u64);
    let (mut after, mut owners) = (Vec::new(), std::collections::BTreeMap::new());
    for _ in 0..arguments.requests {
        generate(&mut engine, request.clone(), |_| Ok(()))?;
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        after.push(resident());
        let trace = trace_of(&carnot_probe::drain(), &cost);
        for owner in analyze(&trace, &MachineProfile::default(), &RunInfo::default())
            .memory
            .owners
        {
            let most = owners.entry(owner.owner).or_insert(0_u64);
            *most = (*most).max(owner.peak_bytes);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut record = BenchRecord {
        model: Some(model_source::summary(engine.model())),
        machine: MachineSummary {
            cpu: cpu_info::read().model,
            threads: arguments
                .workload
                .model
                .compute
                .threads
                .map_or_else(cores::usable, usize::from) as u32,
            ..MachineSummary::default()
        },
        conditions: conditions(&arguments.workload, request.prompt.len()),
        warnings,
        ..beginning.record()
    };
    record
        .conditions
        .insert("requests".to_owned(), arguments.requests.to_string());
    let bytes =
        |name: &str, values: Vec<f64>| Metric::repeated(name, "bytes", Better::Lower, values);
    let peak = memory::peak_bytes().map_or(0.0, |bytes| bytes as f64);
    let live: f64 = owners.values().map(|&bytes| bytes as f64).sum();
    let growth = after.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let tokens = (request.prompt.len() + request.max_tokens) as f64;
    let kv = owners.get("kv_cache").map(|&bytes| bytes as f64 / tokens);
    record.metrics = vec![
        bytes("peak", vec![peak]).with_limit(live),
        bytes("resident_after_a_request", after.clone()),
        bytes("growth_of_a_request", growth),
        bytes("kv_cache_of_a_token", Vec::from_iter(kv)),
        bytes("load_delta", vec![points[1].1 - points[0].1]),
    ];
    let by_owner = owners
        .iter()
        .map(|(owner, &held)| bytes(&format!("live_{owner}"), vec![held as f64]));
    record.metrics.extend(by_owner);
    // What nobody has told of: code, stacks, the heap, pages that are kept for later.
    record
        .metrics
        .push(bytes("resident_beyond_live", vec![(peak - live).max(0.0)]));
    let score = vec![live / peak.max(1.0)];
    record.metrics.push(Metric::repeated(
        "efficiency_score",
        "share",
        Better::Higher,
        score,
    ));
    record.metrics.retain(|metric| !metric.values.is_empty());
    let megabytes = |bytes: f64| bytes / 1e6;
    let size = record
        .model
        .as_ref()
        .map_or(0.0, |model| model.bytes as f64);
    record.summary = [
        ("initial_memory_mb", megabytes(points[0].1)),
        ("peak_memory_mb", megabytes(peak)),
        ("total_peak_delta_mb", megabytes(peak - points[0].1)),
        ("model_size_mb", megabytes(size)),
        ("memory_efficiency", live / peak.max(1.0)),
        ("model_loading_time_ms", 1e3 * load_s),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let line = (1..)
        .zip(&after)
        .map(|(index, &bytes)| [f64::from(index), bytes]);
    record.series = vec![Series {
        plot: "Resident after each request".to_owned(),
        name: "resident".to_owned(),
        x: "request, ".to_owned(),
        y: "resident, bytes".to_owned(),
        points: line.collect(),
    }];
    Ok(record)
}
