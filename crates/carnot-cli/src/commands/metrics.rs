//! `carnot metrics`: the metrics of a server or of this machine at one moment, in the form that somebody wants.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::Context;
use carnot_bench::exposition::{Exposition, Family, Kind, Sample};
use carnot_bench::load::Target;
use carnot_bench::{FetchError, Fetcher};
use carnot_samplers::host::HostReading;
use serde_json::{Map, Value, json};

use crate::cli::{ExportArguments, MetricsAction, MetricsFormat, SnapshotArguments, WatchedServer};
use crate::monitor::server::METRICS;
use crate::monitor::{Sampler, host_metrics};
use crate::printer::Printer;

/// Who is asked where nobody is named.
const OWN: &str = "http://127.0.0.1:8080";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a snapshot is told of.
const MOMENT: Duration = Duration::from_secs(1);

pub fn execute(action: &MetricsAction, printer: &Printer) -> anyhow::Result<()> {
    match action {
        MetricsAction::Export(arguments) => export(arguments, printer),
        MetricsAction::Snapshot(arguments) => snapshot(arguments, printer),
    }
}

fn export(arguments: &ExportArguments, printer: &Printer) -> anyhow::Result<()> {
    let told = server(&arguments.server, printer)?;
    let (source, exposition) = told.unwrap_or_else(|| {
        let reading = HostReading::read(Path::new("/"));
        ("host".to_owned(), host_metrics::exposition(&reading))
    });
    let text = match arguments.format {
        MetricsFormat::Prometheus => exposition.prometheus(),
        MetricsFormat::Openmetrics => exposition.open_metrics(),
        MetricsFormat::Json => document(&source, &exposition).to_string() + "\n",
    };
    match &arguments.output {
        Some(path) => fs::write(path, text).with_context(|| path.display().to_string()),
        None => Ok(printer.result(&text)?),
    }
}

fn snapshot(arguments: &SnapshotArguments, printer: &Printer) -> anyhow::Result<()> {
    let target = arguments.server.url.clone().map(|mut target| {
        target.key.clone_from(&arguments.server.api_key);
        target
    });
    let mut sampler = Sampler::new(None, target)?;
    thread::sleep(MOMENT);
    let sample = sampler.sample();
    if let Some(Err(error)) = sample.server.as_ref().map(|server| &server.told) {
        anyhow::bail!("{error}");
    }
    let told = sample.json();
    let text = if arguments.pretty {
        serde_json::to_string_pretty(&told)?
    } else {
        told.to_string()
    };
    Ok(printer.result(&(text + "\n"))?)
}

/// Where a server was found and what it tells; nothing where none was named and none is there.
fn server(
    named: &WatchedServer,
    printer: &Printer,
) -> anyhow::Result<Option<(String, Exposition)>> {
    let own = || Target::parse(OWN).map_err(anyhow::Error::msg);
    let mut target = named.url.clone().map_or_else(own, Ok)?;
    target.key.clone_from(&named.api_key);
    let url = target.to_string();
    let text = match Fetcher::new(target, PATIENCE)?.text(METRICS) {
        Err(error @ FetchError::Connection { .. }) if named.url.is_none() => {
            printer.note(&format!(
                "carnot: {error}; these are metrics of this machine"
            ));
            return Ok(None);
        }
        told => told?,
    };
    let read = Exposition::parse(&text).with_context(|| format!("{url}{METRICS}"))?;
    Ok(Some((url, read)))
}

/// What the text forms say, as one object.
fn document(source: &str, exposition: &Exposition) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let metrics = exposition.families.iter().map(|family| {
        json!({
            "name": family.name,
            "type": family.kind.name(),
            "help": family.help,
            "samples": samples(family),
        })
    });
    json!({
        "timestamp": now.map_or(0, |since| since.as_secs()),
        "source": source,
        "metrics": metrics.collect::<Vec<Value>>(),
    })
}

/// Values with their labels; those of a histogram or a summary under the name of their part.
fn samples(family: &Family) -> Vec<Value> {
    let has_parts = matches!(family.kind, Kind::Histogram | Kind::Summary);
    let told = |sample: &Sample| {
        let labels: Map<String, Value> = sample
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let mut told = json!({ "labels": labels, "value": sample.value });
        if has_parts {
            told["name"] = sample.name.as_str().into();
        }
        told
    };
    family.samples.iter().map(told).collect()
}
