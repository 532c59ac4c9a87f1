//! The three calls that every span makes, written against CPython's own interface: `stage(name)`, `__enter__` and `__exit__`. The
//! generated wrappers of the others parse arguments and count attachments, which costs these more than their work does.
//!
//! ```text
//! recording on    `__enter__` and `__exit__` are methods of `Span`: CPython binds each to its object, calls it, and forgets it
//! off             they are plain functions in the same places, which CPython calls as they are: no binding, no allocation
//! ```
//!
//! [`set_methods`] puts the one or the other into the class when recording is turned on or off. A span that is kept does not notice.

use std::ffi::CStr;

use carnot_probe::Kind;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo};

use crate::names;
use crate::open;
use crate::span::{self, Span};

/// `__enter__` and `__exit__`.
struct Pair {
    enter: Py<PyAny>,
    exit: Py<PyAny>,
}

struct Methods {
    on: Pair,
    off: Pair,
}

static METHODS: PyOnceLock<Methods> = PyOnceLock::new();
/// What `__enter__` returns while recording is off: counts nothing, ends nothing.
static NOTHING: PyOnceLock<Py<Span>> = PyOnceLock::new();

/// Gives `Span` the methods that record, or those that do nothing.
pub fn set_methods(py: Python<'_>, is_on: bool) -> PyResult<()> {
    let methods = METHODS.get_or_try_init(py, || Methods::new(py))?;
    let pair = if is_on { &methods.on } else { &methods.off };
    let class = Span::type_object(py);
    class.setattr("__enter__", &pair.enter)?;
    class.setattr("__exit__", &pair.exit)
}

/// The function `stage`.
pub fn stage_function(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    NOTHING.get_or_try_init(py, || {
        Py::new(py, Span::plain(names::known("nothing", Kind::Other)))
    })?;
    let doc = c"stage(name, items=0)\n--\n\nA stage of a pipeline; items are what it makes, in the session's unit.";
    let method = ffi::PyMethodDefPointer {
        PyCFunctionFastWithKeywords: stage,
    };
    let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    function(py, definition(c"stage", method, flags, doc))
}

impl Methods {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let enter_doc = c"Begins a span.";
        let exit_doc = c"Ends the span; what was raised goes on.";
        let enter = |call| ffi::PyMethodDefPointer { PyCFunction: call };
        let exit = |call| ffi::PyMethodDefPointer {
            PyCFunctionFast: call,
        };
        let define_enter =
            |call| definition(c"__enter__", enter(call), ffi::METH_NOARGS, enter_doc);
        let define_exit = |call| definition(c"__exit__", exit(call), ffi::METH_FASTCALL, exit_doc);
        Ok(Self {
            on: Pair {
                enter: method(py, define_enter(enter_on))?.unbind(),
                exit: method(py, define_exit(exit_on))?.unbind(),
            },
            off: Pair {
                enter: function(py, define_enter(enter_off))?.unbind(),
                exit: function(py, define_exit(exit_off))?.unbind(),
            },
        })
    }
}

/// CPython keeps the address: the definition lives as long as the process.
fn definition(
    name: &'static CStr,
    ml_meth: ffi::PyMethodDefPointer,
    ml_flags: i32,
    doc: &'static CStr,
) -> *mut ffi::PyMethodDef {
    Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth,
        ml_flags,
        ml_doc: doc.as_ptr(),
    }))
}

/// A method of `Span`: what it is called with is one.
fn method(py: Python<'_>, definition: *mut ffi::PyMethodDef) -> PyResult<Bound<'_, PyAny>> {
    let class = Span::type_object_raw(py);
    // SAFETY: both live as long as the process, and the definition's flags fit its function's type.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class, definition)) }
}

/// A function that is called without an object.
fn function(py: Python<'_>, definition: *mut ffi::PyMethodDef) -> PyResult<Bound<'_, PyAny>> {
    let null = std::ptr::null_mut();
    // SAFETY: as above; a function needs no object and no module.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyCFunction_NewEx(definition, null, null)) }
}

unsafe extern "C" fn enter_on(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: CPython calls methods with its lock held.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the descriptor has checked that this is a span, and the caller holds a reference.
    let span = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<Span>() };
    open::begin(py, slf as usize, span.get().site());
    // SAFETY: the caller holds a reference; this is the one that is returned.
    unsafe { ffi::Py_INCREF(slf) };
    slf
}

unsafe extern "C" fn exit_on(
    slf: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: CPython calls methods with its lock held.
    let py = unsafe { Python::assume_attached() };
    if let Some(ended) = open::end(py, slf as usize) {
        // SAFETY: the descriptor has checked that this is a span, and the caller holds a reference.
        let span = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<Span>() };
        span.get().record(&ended, 0, 0, 0);
    }
    none()
}

unsafe extern "C" fn enter_off(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: CPython calls functions with its lock held.
    let py = unsafe { Python::assume_attached() };
    NOTHING
        .get(py)
        .map_or_else(none, |nothing| nothing.clone_ref(py).into_ptr())
}

unsafe extern "C" fn exit_off(
    _: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    none()
}

fn none() -> *mut PyObject {
    // SAFETY: called by functions that CPython calls with its lock held; `None` lives for ever.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn stage(
    _: *mut PyObject,
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: CPython calls functions with its lock held.
    let py = unsafe { Python::assume_attached() };
    if count == 1 && keywords.is_null() {
        // SAFETY: there is one argument, which the caller holds.
        let name = unsafe { *arguments };
        if let Some(span) = names::kept_span(py, name as usize, Kind::Stage) {
            return span.into_ptr();
        }
    }
    // SAFETY: as CPython says: `count` positional arguments, then as many values as there are keywords; all are held by the caller.
    let called = unsafe { call_any_stage(py, arguments, count as usize, keywords) };
    match called {
        Ok(span) => span.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// Any call of `stage` but that of a name that is known.
///
/// # Safety
/// `arguments` must point to `count` objects and as many more as the tuple `keywords`, which may be null, has names.
unsafe fn call_any_stage(
    py: Python<'_>,
    arguments: *const *mut PyObject,
    count: usize,
    keywords: *mut PyObject,
) -> PyResult<Py<PyAny>> {
    // SAFETY: the caller says that there are as many.
    let at = |index: usize| unsafe { Borrowed::from_ptr(py, *arguments.add(index)) };
    let positional = PyTuple::new(py, (0..count).map(at))?;
    let named = PyDict::new(py);
    if !keywords.is_null() {
        // SAFETY: the caller says that it is a tuple.
        let keywords = unsafe { Borrowed::from_ptr(py, keywords).cast_unchecked::<PyTuple>() };
        for (index, keyword) in keywords.iter().enumerate() {
            named.set_item(keyword.cast::<PyString>()?, at(count + index))?;
        }
    }
    let any = pyo3::wrap_pyfunction!(span::any_stage, py)?;
    Ok(any.call(positional, Some(&named))?.unbind())
}
