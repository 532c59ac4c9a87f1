//! Files of records: what `carnot bench`, `carnot baseline` and `carnot profile` wrote, read again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail};
use carnot_analyze::pipeline::PipelineAnalysis;
use carnot_bench::baseline::RESULTS;
use carnot_record::trace_file::MAGIC;
use carnot_record::{BenchRecord, ProfileSummary, Record, Trace};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::ViewArguments;
use crate::commands::profile::files;

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// Records of benchmarks, one or more.
    Bench(Vec<BenchRecord>),
    /// A profile.
    Profile(Box<ProfileSummary>),
    /// A trace.
    Trace(Box<Trace>),
    /// What a pipeline's trace comes to.
    Pipeline(Box<PipelineAnalysis>),
}

impl Content {
    /// What it is, for who expected something else.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bench(_) => "what `carnot bench` writes",
            Self::Profile(_) => "a profile",
            Self::Trace(_) => "a trace",
            Self::Pipeline(_) => "a trace of a pipeline",
        }
    }
}

/// Reads a file, or the records of a directory that `carnot baseline` wrote.
pub fn read(path: &Path) -> anyhow::Result<Content> {
    let path = if path.is_dir() {
        &path.join(RESULTS)
    } else {
        path
    };
    let told = || {
        let expected = "expected what `carnot bench … --output FILE`, `carnot profile --format json` or `carnot profile --emit trace` writes";
        format!("reading {} ({expected})", path.display())
    };
    if is_pipeline(path).with_context(told)? {
        return pipeline(path);
    }
    let text = fs::read_to_string(path).with_context(told)?;
    parse(&text).with_context(told)
}

/// Whether a session of a pipeline wrote it: such files begin with a word of their own.
fn is_pipeline(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?
        .take(MAGIC.len() as u64)
        .read_to_end(&mut begin)?;
    Ok(begin == MAGIC)
}

fn pipeline(path: &Path) -> anyhow::Result<Content> {
    let view = ViewArguments {
        fps: None,
        points: 10_000,
    };
    let analysis = files::analyse(&mut files::open(path)?, &view)?;
    Ok(Content::Pipeline(Box::new(analysis)))
}

/// Records of a text.
pub fn parse(text: &str) -> anyhow::Result<Content> {
    if text.trim().is_empty() {
        bail!("it is empty");
    }
    if !text.trim_start().starts_with('[') {
        return one(&serde_json::from_str(text).context(NO_JSON)?, text);
    }
    let records: Vec<Value> = serde_json::from_str(text).context(NO_JSON)?;
    if records.is_empty() {
        bail!("it is a list of no records");
    }
    let read = |(index, record): (usize, &Value)| {
        let record = BenchRecord::from_json(&record.to_string());
        record.with_context(|| format!("record {} of {}", index + 1, records.len()))
    };
    Ok(Content::Bench(
        records
            .iter()
            .enumerate()
            .map(read)
            .collect::<anyhow::Result<_>>()?,
    ))
}

const NO_JSON: &str = "it is no JSON of a record, or not all of it";

/// What every record begins with. Traces are long: nothing else of a text is kept to find out what it is.
#[derive(Deserialize)]
struct Header {
    schema: Option<Value>,
}

fn one(header: &Header, text: &str) -> anyhow::Result<Content> {
    match header.schema.as_ref().and_then(Value::as_str) {
        Some(BenchRecord::SCHEMA) => Ok(Content::Bench(vec![BenchRecord::from_json(text)?])),
        Some(ProfileSummary::SCHEMA) => {
            Ok(Content::Profile(Box::new(ProfileSummary::from_json(text)?)))
        }
        Some(Trace::SCHEMA) => Ok(Content::Trace(Box::new(Trace::from_json(text)?))),
        Some(other) => bail!("it is a record of schema \"{other}\""),
        None => bail!("it has no field \"schema\""),
    }
}
