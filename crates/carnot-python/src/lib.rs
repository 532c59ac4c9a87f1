//! `carnot._carnot`: the part of the Python package that has to be fast. What has not is Python, under `python/carnot/`.
//!
//! ```text
//! span       an object that `with` takes: a name, a number, its work; begins and ends spans
//! fast       the calls that every span makes, without the generated wrappers
//! names      text to span and to site, by the address of the text: no hashing, no allocation
//! open       which spans are open, on each thread and in each task of asyncio; where they lie when they end
//! tasks      which task of asyncio this thread runs
//! events     counters, frames, memory, caches
//! recording  the session: its start and its end
//! trace      a trace file, as Python objects
//! engine     the text engine
//! ```
//!
//! Off, everything here is a call and a relaxed load.

#![expect(
    unsafe_code,
    reason = "CPython's own interface, in `fast` alone; each block says why it is sound"
)]

#[cfg(feature = "engine")]
mod engine;
mod events;
mod fast;
mod names;
mod open;
mod recording;
mod span;
mod tasks;
mod trace;

/// The module `carnot._carnot`.
#[pyo3::pymodule]
mod _carnot {
    #[cfg(feature = "engine")]
    #[pymodule_export]
    use crate::engine::{Engine, Generation, Pieces};
    #[pymodule_export]
    use crate::events::{
        allocated, allocation, cache_evict, cache_hit, cache_miss, counter, drop_frames, frame,
        instant, released,
    };
    #[pymodule_export]
    use crate::recording::Recording;
    #[pymodule_export]
    use crate::span::{Span, block, chunk, is_recording, layer, past, prompt, step, ticks, wait};
    #[pymodule_export]
    use crate::trace::read_trace;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn initialize(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fast::set_methods(module.py(), false)?;
        module.add("stage", crate::fast::stage_function(module.py())?)
    }
}
