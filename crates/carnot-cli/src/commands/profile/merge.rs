//! `carnot profile merge`: the traces of all ranks of a run, on one clock.
//!
//! Clocks of machines differ. Ranks that share anchors, moments that all of them passed together such as the end of a barrier (instants whose
//! names begin with `anchor/`), are put on the clock of the first rank by the median of the differences; without any, the machines' own clocks
//! must do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use carnot_analyze::pipeline::{PipelineAnalysis, ranks};
use carnot_record::trace_file::Occurrence;
use carnot_report::pipeline::TimelineBuilder;
use carnot_statistics::median;

use super::files::{Parts, Trace, analyse, open, printed, write};
use crate::cli::{MergeArguments, TemplateArgument};
use crate::printer::Printer;

/// How deep below the folder traces are looked for: `rank_N/` and a folder around it.
const DEPTH: usize = 3;
const ANCHOR: &str = "anchor/";

/// A rank's trace.
struct RankTrace {
    path: PathBuf,
    analysis: PipelineAnalysis,
    start_unix_ns: u64,
    /// Anchors that it passed, in nanoseconds since 1970 by its own clock.
    anchors: BTreeMap<String, u64>,
}

pub fn execute(arguments: &MergeArguments, printer: &Printer) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    collect(&arguments.folder, DEPTH, &mut paths)
        .with_context(|| format!("looking through {}", arguments.folder.display()))?;
    ensure!(
        !paths.is_empty(),
        "{}: expected trace files (*.carnot) of ranks, found none",
        arguments.folder.display()
    );
    let mut traces = Vec::new();
    let mut unread = Vec::new();
    for path in newest(paths) {
        match read(&path, arguments) {
            Ok(trace) => traces.push(trace),
            // The other ranks are worth a report all the same.
            Err(error) => unread.push(format!("{error:#}; its rank is left out")),
        }
    }
    ensure!(
        !traces.is_empty(),
        "no trace could be read: {}",
        unread.join("; ")
    );
    traces.sort_by_key(|trace| {
        (
            trace.analysis.session.rank.map(|rank| rank.rank),
            trace.path.clone(),
        )
    });
    let ahead = ahead(&traces);
    let analyses: Vec<PipelineAnalysis> =
        traces.iter().map(|trace| trace.analysis.clone()).collect();
    let mut all = ranks(&analyses, &ahead);
    all.warnings.extend(unread);
    let starts = traces
        .iter()
        .zip(&ahead)
        .map(|(trace, ahead)| trace.start_unix_ns as i64 - ahead);
    let first = starts.clone().min().unwrap_or(0);
    let placed: Vec<(PathBuf, i64)> = traces
        .iter()
        .zip(starts)
        .map(|(trace, start)| (trace.path.clone(), start - first))
        .collect();
    let parts = Parts {
        analysis: &analyses[0],
        ranks: Some(&all),
        template: TemplateArgument::Full,
        timeline: &|| Ok(TimelineBuilder::read(&mut open(&traces[0].path)?, None)?),
        traces: &placed,
    };
    write(&arguments.emit, &arguments.output, &parts, printer)?;
    printer.result(&printed(
        arguments.format,
        TemplateArgument::Full,
        &analyses[0],
        Some(&all),
    ))?;
    Ok(())
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth > 1 {
            collect(&path, depth - 1, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "carnot")
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Of each folder of one rank the newest trace; of a folder with several ranks all.
fn newest(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_of_rank = |path: &Path| {
        path.parent()
            .and_then(Path::file_name)
            .is_some_and(|name| name.to_string_lossy().starts_with("rank_"))
    };
    let age = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    paths.sort_by_key(|path| (path.parent().map(Path::to_owned), age(path)));
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in paths {
        if is_of_rank(&path)
            && kept
                .last()
                .is_some_and(|last| last.parent() == path.parent())
        {
            kept.pop();
        }
        kept.push(path);
    }
    kept
}

fn read(path: &Path, arguments: &MergeArguments) -> anyhow::Result<RankTrace> {
    let mut trace = open(path)?;
    let analysis = analyse(&mut trace, &arguments.view)?;
    Ok(RankTrace {
        path: path.to_owned(),
        analysis,
        start_unix_ns: trace.start_unix_ns(),
        anchors: anchors(&mut trace)?,
    })
}

fn anchors(trace: &mut Trace) -> anyhow::Result<BTreeMap<String, u64>> {
    let start = trace.start_unix_ns();
    let mut anchors = BTreeMap::new();
    trace.for_each(|site, _, occurrence| {
        if let Occurrence::Instant { time_ns, .. } = occurrence
            && site.name.starts_with(ANCHOR)
        {
            anchors.insert(site.name.clone(), start + time_ns);
        }
    })?;
    Ok(anchors)
}

/// How far each clock is ahead of the first one's. Processes of one machine have one clock: by how much they leave a barrier after each
/// other is the scheduler's doing.
fn ahead(traces: &[RankTrace]) -> Vec<i64> {
    let (first, host) = (&traces[0].anchors, &traces[0].analysis.session.host);
    let of = |trace: &RankTrace| {
        if !host.is_empty() && trace.analysis.session.host == *host {
            return 0;
        }
        let apart = first
            .iter()
            .filter_map(|(name, at)| Some(*trace.anchors.get(name)? as f64 - *at as f64));
        median(&apart.collect::<Vec<f64>>()).map_or(0, |apart| apart as i64)
    };
    traces.iter().map(of).collect()
}
