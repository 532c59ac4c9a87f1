//! Events that are no spans: counters, instants, frames, memory, caches.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use carnot_probe::clock::ticks;
use carnot_probe::{self as probe, Allocation, CacheOutcome, Frame, Kind, is_enabled};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::names::site_of;

/// The value of a counter or gauge, from now on.
#[pyfunction]
pub fn counter(name: &Bound<'_, PyString>, value: f64) -> PyResult<()> {
    if is_enabled() {
        probe::counter(site_of(name, Kind::Counter)?, value);
    }
    Ok(())
}

/// A point in time.
#[pyfunction]
pub fn instant(name: &Bound<'_, PyString>) -> PyResult<()> {
    if is_enabled() {
        probe::instant(site_of(name, Kind::Instant)?);
    }
    Ok(())
}

fn nanoseconds(name: &str, milliseconds: f64) -> PyResult<u64> {
    if (0.0..1e13).contains(&milliseconds) {
        return Ok((milliseconds * 1e6).round() as u64);
    }
    Err(PyValueError::new_err(format!(
        "{name}: expected milliseconds, 0 or more, got {milliseconds}"
    )))
}

/// A frame, or several, that a stream has delivered.
#[pyfunction]
#[pyo3(signature = (index, *, generate_ms=0.0, encode_ms=0.0, send_ms=0.0, bytes=0, occupancy=None, count=1, prompt=None, stream=None))]
#[expect(clippy::too_many_arguments, reason = "Python's callers name them")]
pub fn frame(
    py: Python<'_>,
    index: u32,
    generate_ms: f64,
    encode_ms: f64,
    send_ms: f64,
    bytes: u64,
    occupancy: Option<u32>,
    count: u32,
    prompt: Option<u32>,
    stream: Option<&Bound<'_, PyString>>,
) -> PyResult<()> {
    if !is_enabled() {
        return Ok(());
    }
    let frame = Frame {
        index,
        count,
        generate_ns: nanoseconds("generate_ms", generate_ms)?,
        encode_ns: nanoseconds("encode_ms", encode_ms)?,
        send_ns: nanoseconds("send_ms", send_ms)?,
        bytes,
        occupancy,
        prompt,
    };
    if count == 0 {
        let what = "count: expected 1 or more frames, got 0; frames given up are for drop_frames";
        return Err(PyValueError::new_err(what));
    }
    let stream = stream.unwrap_or_else(|| pyo3::intern!(py, "video"));
    probe::frame(site_of(stream, Kind::Frame)?, &frame);
    Ok(())
}

/// Frames of a stream that were given up.
#[pyfunction]
#[pyo3(signature = (count=1, *, stream=None))]
pub fn drop_frames(
    py: Python<'_>,
    count: u32,
    stream: Option<&Bound<'_, PyString>>,
) -> PyResult<()> {
    if is_enabled() {
        let stream = stream.unwrap_or_else(|| pyo3::intern!(py, "video"));
        probe::drop_frames(site_of(stream, Kind::Frame)?, count);
    }
    Ok(())
}

fn bytes_of(nbytes: u64) -> PyResult<i64> {
    i64::try_from(nbytes).map_err(|_| {
        PyValueError::new_err(format!("nbytes: expected less than 2^63, got {nbytes}"))
    })
}

/// Memory that `owner` took; `id`, such as its address, joins it to its release.
#[pyfunction]
#[pyo3(signature = (owner, nbytes, id=0))]
pub fn allocated(owner: &Bound<'_, PyString>, nbytes: u64, id: u64) -> PyResult<()> {
    if is_enabled() {
        probe::memory(site_of(owner, Kind::Memory)?, bytes_of(nbytes)?, id);
    }
    Ok(())
}

/// Memory that `owner` gave back.
#[pyfunction]
#[pyo3(signature = (owner, nbytes, id=0))]
pub fn released(owner: &Bound<'_, PyString>, nbytes: u64, id: u64) -> PyResult<()> {
    if is_enabled() {
        probe::memory(site_of(owner, Kind::Memory)?, -bytes_of(nbytes)?, id);
    }
    Ok(())
}

/// Memory that a line of Python took since it was last told of, or gave back where `nbytes` is negative.
#[pyfunction]
pub fn allocation(name: &str, file: &str, line: u32, nbytes: i64, count: u32) -> PyResult<()> {
    if !is_enabled() {
        return Ok(());
    }
    if nbytes == i64::MIN {
        let what = "nbytes: expected more than -2^63, got it";
        return Err(PyValueError::new_err(what));
    }
    let allocation = Allocation {
        time: ticks(),
        bytes: nbytes,
        count,
        ..Allocation::default()
    };
    let site = probe::site_at(name, Kind::Allocation, kept(file), line);
    probe::allocation(site, &allocation);
    Ok(())
}

/// The name of a file for as long as the process lives: there are as many as the program has.
fn kept(file: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut files = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = files.get(file) {
        return known;
    }
    let new: &'static str = file.to_owned().leak();
    files.insert(new);
    new
}

/// A number for a hash that is never 0, which stands for none; small whole numbers are their own hashes, and stay apart.
fn identity(hash: isize) -> u64 {
    (hash as u64).wrapping_add(1 << 62).max(1)
}

/// Notes what happened to the entry of `key`; of the key only a hash is kept.
fn cache(
    name: &Bound<'_, PyString>,
    outcome: CacheOutcome,
    key: Option<&Bound<'_, PyAny>>,
    nbytes: u64,
) -> PyResult<()> {
    if !is_enabled() {
        return Ok(());
    }
    // 0 stands for no key.
    let key = key.map_or(Ok(0), |key| key.hash().map(identity))?;
    probe::cache(site_of(name, Kind::Cache)?, outcome, key, nbytes);
    Ok(())
}

/// What was asked for was in the cache.
#[pyfunction]
#[pyo3(signature = (name, key=None, nbytes=0))]
pub fn cache_hit(
    name: &Bound<'_, PyString>,
    key: Option<&Bound<'_, PyAny>>,
    nbytes: u64,
) -> PyResult<()> {
    cache(name, CacheOutcome::Hit, key, nbytes)
}

/// It was not.
#[pyfunction]
#[pyo3(signature = (name, key=None, nbytes=0))]
pub fn cache_miss(
    name: &Bound<'_, PyString>,
    key: Option<&Bound<'_, PyAny>>,
    nbytes: u64,
) -> PyResult<()> {
    cache(name, CacheOutcome::Miss, key, nbytes)
}

/// Something was given up for room.
#[pyfunction]
#[pyo3(signature = (name, key=None, nbytes=0))]
pub fn cache_evict(
    name: &Bound<'_, PyString>,
    key: Option<&Bound<'_, PyAny>>,
    nbytes: u64,
) -> PyResult<()> {
    cache(name, CacheOutcome::Evict, key, nbytes)
}
