//! A trace file, as Python objects: for tests, and for whoever would rather count in Python than read a report.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use carnot_record::CacheOutcome;
use carnot_record::trace_file::{EventKind, EventSite, Occurrence, TraceReader};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// What each kind of event is listed under.
const LISTS: [&str; 8] = [
    "spans",
    "counters",
    "instants",
    "memory",
    "allocations",
    "cache",
    "frames",
    "flows",
];

/// Reads a trace file: the session as JSON under `session`, the notes as JSON under `notes`, and a list of dictionaries for each kind of event, with times in
/// nanoseconds from the start.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python hands it over")]
pub fn read_trace(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let named = |error: String| format!("{}: {error}", path.display());
    let file = File::open(&path).map_err(|error| PyOSError::new_err(named(error.to_string())))?;
    let reader = py.detach(|| TraceReader::new(BufReader::new(file)));
    let mut reader = reader.map_err(|error| PyValueError::new_err(named(error.to_string())))?;
    let json =
        |text: Result<String, serde_json::Error>| text.expect("sessions and notes are plain data");
    let trace = PyDict::new(py);
    trace.set_item("session", json(serde_json::to_string(reader.session())))?;
    trace.set_item("notes", json(serde_json::to_string(&reader.notes())))?;
    trace.set_item("lost", reader.lost().values().sum::<u64>())?;
    trace.set_item("length_ns", reader.length_ns())?;
    trace.set_item("start_unix_ns", reader.start_unix_ns())?;
    let lists = LISTS.map(|name| (name, PyList::empty(py)));
    let threads: Vec<String> = reader
        .threads()
        .iter()
        .map(|thread| thread.name.clone())
        .collect();
    let mut failed = Ok(());
    let read = reader.for_each(|site, _, occurrence| {
        let added = entry(py, site, &occurrence, &threads).and_then(|(list, entry)| {
            let list = lists.iter().find(|(name, _)| *name == list);
            list.map_or(Ok(()), |(_, list)| list.append(entry))
        });
        if failed.is_ok() {
            failed = added;
        }
    });
    failed?;
    read.map_err(|error| PyOSError::new_err(named(error.to_string())))?;
    for (name, list) in lists {
        trace.set_item(name, list)?;
    }
    trace.set_item("damage", reader.damage())?;
    Ok(trace)
}

/// An event, and the list that it belongs to.
fn entry<'py>(
    py: Python<'py>,
    site: &EventSite,
    occurrence: &Occurrence,
    threads: &[String],
) -> PyResult<(&'static str, Bound<'py, PyDict>)> {
    let (list, entry) = match *occurrence {
        Occurrence::Span {
            times,
            index,
            items,
            flops,
            bytes,
            ..
        } => {
            let entry = numbers(
                py,
                &[
                    ("thread", Some(times.thread.into())),
                    ("start_ns", Some(times.start_ns)),
                    ("end_ns", Some(times.end_ns)),
                    ("index", index.map(u64::from)),
                    ("items", Some(items.into())),
                    ("flops", Some(flops)),
                    ("bytes", Some(bytes)),
                ],
            )?;
            if let EventKind::Span(kind, _) = site.kind {
                entry.set_item("kind", kind.name())?;
            }
            entry.set_item("thread_name", threads.get(times.thread as usize))?;
            ("spans", entry)
        }
        Occurrence::Counter { time_ns, value } => {
            let entry = numbers(py, &[("time_ns", Some(time_ns))])?;
            entry.set_item("value", value)?;
            ("counters", entry)
        }
        Occurrence::Memory { time_ns, bytes, id } => {
            let entry = numbers(py, &[("time_ns", Some(time_ns)), ("id", id)])?;
            entry.set_item("bytes", bytes)?;
            ("memory", entry)
        }
        Occurrence::Allocation {
            time_ns,
            bytes,
            count,
            id,
            mean_bytes,
        } => {
            let fields = [
                ("time_ns", Some(time_ns)),
                ("count", Some(count.into())),
                ("id", id),
                ("mean_bytes", Some(mean_bytes)),
                ("line", Some(site.line.into())),
            ];
            let entry = numbers(py, &fields)?;
            entry.set_item("bytes", bytes)?;
            entry.set_item("file", &site.file)?;
            ("allocations", entry)
        }
        Occurrence::Cache {
            time_ns,
            outcome,
            key,
            bytes,
        } => {
            let entry = numbers(
                py,
                &[
                    ("time_ns", Some(time_ns)),
                    ("key", key),
                    ("bytes", Some(bytes)),
                ],
            )?;
            let outcome = match outcome {
                CacheOutcome::Hit => "hit",
                CacheOutcome::Miss => "miss",
                CacheOutcome::Evict => "evict",
            };
            entry.set_item("outcome", outcome)?;
            ("cache", entry)
        }
        Occurrence::Frame { .. } | Occurrence::DroppedFrames { .. } => {
            ("frames", frame(py, occurrence)?)
        }
        Occurrence::Instant { time_ns, thread } => {
            let fields = [("time_ns", Some(time_ns)), ("thread", Some(thread.into()))];
            ("instants", numbers(py, &fields)?)
        }
        Occurrence::Flow {
            time_ns,
            thread,
            id,
        } => {
            let fields = [
                ("time_ns", Some(time_ns)),
                ("thread", Some(thread.into())),
                ("id", Some(id)),
            ];
            ("flows", numbers(py, &fields)?)
        }
    };
    entry.set_item("name", &site.name)?;
    Ok((list, entry))
}

/// Frames that were delivered, or given up.
fn frame<'py>(py: Python<'py>, occurrence: &Occurrence) -> PyResult<Bound<'py, PyDict>> {
    match *occurrence {
        Occurrence::Frame {
            time_ns,
            index,
            count,
            generate_ns,
            encode_ns,
            send_ns,
            bytes,
            occupancy,
            prompt,
        } => numbers(
            py,
            &[
                ("time_ns", Some(time_ns)),
                ("index", Some(index.into())),
                ("count", Some(count.into())),
                ("dropped", Some(0)),
                ("generate_ns", Some(generate_ns)),
                ("encode_ns", Some(encode_ns)),
                ("send_ns", Some(send_ns)),
                ("bytes", Some(bytes)),
                ("occupancy", occupancy.map(u64::from)),
                ("prompt", prompt.map(u64::from)),
            ],
        ),
        Occurrence::DroppedFrames { time_ns, count } => {
            let dropped = ("dropped", Some(count.into()));
            numbers(
                py,
                &[("time_ns", Some(time_ns)), ("count", Some(0)), dropped],
            )
        }
        _ => Ok(PyDict::new(py)),
    }
}

fn numbers<'py>(py: Python<'py>, fields: &[(&str, Option<u64>)]) -> PyResult<Bound<'py, PyDict>> {
    let entry = PyDict::new(py);
    for (name, number) in fields {
        entry.set_item(name, number)?;
    }
    Ok(entry)
}
