//! The object that `with` takes. It holds what a span is, not when: that lies on the stacks of `open`, so that one object can be kept,
//! entered again within itself, and used by many threads and tasks at once.

use carnot_probe::clock::{calibrate, ticks as now};
use carnot_probe::{Kind, SiteId, is_enabled, record_span, track};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::events::counter;
use crate::names::{keep_number, kept_number, known, site_of, span_of};
use crate::open;

/// No number.
const NONE: u32 = u32::MAX;

/// What `with` takes: begins a span, and ends it.
#[pyclass(frozen, module = "carnot")]
pub struct Span {
    site: SiteId,
    index: u32,
    items: u32,
    flops: u64,
    bytes: u64,
}

impl Span {
    /// One without number and work.
    pub fn plain(site: SiteId) -> Self {
        Self {
            site,
            index: NONE,
            items: 0,
            flops: 0,
            bytes: 0,
        }
    }

    /// Where its spans come from.
    #[inline]
    pub fn site(&self) -> SiteId {
        self.site
    }

    /// Records it, with what turned out beside what was known.
    #[inline]
    pub fn record(&self, ended: &open::Ended, items: u32, flops: u64, bytes: u64) {
        let items = self.items.saturating_add(ended.items).saturating_add(items);
        let bytes = self.bytes.saturating_add(bytes);
        record_span(self.site, ended.line, ended.start, ended.end)
            .index(self.index)
            .items(items)
            .work(self.flops.saturating_add(flops), bytes, bytes)
            .end();
    }
}

fn address(slf: &Bound<'_, Span>) -> usize {
    slf.as_ptr() as usize
}

#[pymethods]
impl Span {
    /// Begins a span, where `with` does not fit.
    fn begin(slf: &Bound<'_, Self>) {
        open::begin(slf.py(), address(slf), slf.get().site);
    }

    /// Ends the innermost open span of this object, with the work that it turned out to be.
    #[pyo3(signature = (flops=0, bytes=0, items=0))]
    fn end(slf: &Bound<'_, Self>, flops: u64, bytes: u64, items: u32) {
        if let Some(ended) = open::end(slf.py(), address(slf)) {
            slf.get().record(&ended, items, flops, bytes);
        }
    }

    /// Adds to what the innermost open span of this object counts, in the session's unit.
    fn count(slf: &Bound<'_, Self>, items: u32) {
        open::count(slf.py(), address(slf), items);
    }

    /// As a decorator.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let decorators = slf.py().import("carnot.decorators")?;
        decorators.call_method1("wrap", (slf, function))
    }
}

/// A stage of a pipeline; `items` are what it makes, in the session's unit. The short way to it is in `fast`.
#[pyfunction]
#[pyo3(name = "stage", signature = (name, items=0))]
pub fn any_stage(name: &Bound<'_, PyString>, items: u32) -> PyResult<Py<Span>> {
    if items == 0 {
        return span_of(name, Kind::Stage);
    }
    let site = site_of(name, Kind::Stage)?;
    let span = Span {
        items,
        ..Span::plain(site)
    };
    Py::new(name.py(), span)
}

fn numbered(py: Python<'_>, kind: Kind, index: u32, items: u32) -> PyResult<Py<Span>> {
    if let Some(kept) = kept_number(py, (kind, index, items)) {
        return Ok(kept);
    }
    let name = match kind {
        Kind::Prompt => "prompt",
        Kind::Chunk => "chunk",
        Kind::Block => "block",
        _ => "step",
    };
    if index == NONE {
        return Err(PyValueError::new_err(format!(
            "{name}: expected an index below {NONE}, got {index}"
        )));
    }
    let span = Span {
        index,
        items,
        ..Span::plain(known(name, kind))
    };
    let span = Py::new(py, span)?;
    keep_number((kind, index, items), span.clone_ref(py));
    Ok(span)
}

/// One iteration, such as of denoising, with where it stands between noise (1) and picture (0).
#[pyfunction]
#[pyo3(signature = (index, items=0, *, timestep=None, guidance_scale=None))]
pub fn step(
    py: Python<'_>,
    index: u32,
    items: u32,
    timestep: Option<f64>,
    guidance_scale: Option<f64>,
) -> PyResult<Py<Span>> {
    if let Some(timestep) = timestep {
        counter(pyo3::intern!(py, "timestep"), timestep)?;
    }
    if let Some(scale) = guidance_scale {
        counter(pyo3::intern!(py, "guidance_scale"), scale)?;
    }
    numbered(py, Kind::Step, index, items)
}

/// A block of frames or tokens that are made together.
#[pyfunction]
#[pyo3(signature = (index, items=0))]
pub fn block(py: Python<'_>, index: u32, items: u32) -> PyResult<Py<Span>> {
    numbered(py, Kind::Block, index, items)
}

/// A chunk: the blocks between two looks at a pipeline's memory.
#[pyfunction]
#[pyo3(signature = (index, items=0))]
pub fn chunk(py: Python<'_>, index: u32, items: u32) -> PyResult<Py<Span>> {
    numbered(py, Kind::Chunk, index, items)
}

/// All that is done for one prompt.
#[pyfunction]
#[pyo3(signature = (index, items=0))]
pub fn prompt(py: Python<'_>, index: u32, items: u32) -> PyResult<Py<Span>> {
    numbered(py, Kind::Prompt, index, items)
}

/// Waiting for others, such as at a barrier or in a collective: time that is not this process's own work.
#[pyfunction]
pub fn wait(name: &Bound<'_, PyString>) -> PyResult<Py<Span>> {
    span_of(name, Kind::Wait)
}

/// A layer of a model, with its least work: arithmetic operations, and bytes that must be moved.
#[pyfunction]
#[pyo3(signature = (name, index=None, flops=0, bytes=0))]
pub fn layer(
    name: &Bound<'_, PyString>,
    index: Option<u32>,
    flops: u64,
    bytes: u64,
) -> PyResult<Py<Span>> {
    let span = Span {
        site: site_of(name, Kind::Layer)?,
        index: index.unwrap_or(NONE),
        items: 0,
        flops,
        bytes,
    };
    Py::new(name.py(), span)
}

/// Whether a session is being recorded.
#[pyfunction]
pub fn is_recording() -> bool {
    is_enabled()
}

/// The present on the clock that spans are told by, for `past`; of an unknown unit.
#[pyfunction]
pub fn ticks() -> u64 {
    now()
}

/// Records a layer that another clock timed, such as a device's, on a line of its own.
///
/// It began `start_ns` after the moment `anchor`, in `ticks`, or before where that is negative, and took `duration_ns`.
#[pyfunction]
#[pyo3(signature = (line, name, anchor, start_ns, duration_ns, index=None, flops=0, bytes=0))]
#[expect(clippy::too_many_arguments, reason = "Python's callers name them")]
pub fn past(
    line: &str,
    name: &Bound<'_, PyString>,
    anchor: u64,
    start_ns: f64,
    duration_ns: f64,
    index: Option<u32>,
    flops: u64,
    bytes: u64,
) -> PyResult<()> {
    if !is_enabled() {
        return Ok(());
    }
    if !(start_ns.is_finite() && duration_ns >= 0.0) {
        return Err(PyValueError::new_err(format!(
            "{name}: expected a start and a length in nanoseconds, got {start_ns} and {duration_ns}"
        )));
    }
    let per_ns = 1.0 / calibrate().ns_per_tick();
    let start = anchor.saturating_add_signed((start_ns * per_ns) as i64);
    let end = start + (duration_ns * per_ns) as u64;
    record_span(site_of(name, Kind::Layer)?, Some(line_of(line)), start, end)
        .index(index.unwrap_or(NONE))
        .work(flops, bytes, bytes)
        .end();
    Ok(())
}

/// The line of this name, made when it is first asked for.
fn line_of(name: &str) -> carnot_probe::TrackId {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};
    static LINES: Mutex<Option<HashMap<String, carnot_probe::TrackId>>> = Mutex::new(None);
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = lines.get_or_insert_default();
    *lines.entry(name.to_owned()).or_insert_with(|| track(name))
}
