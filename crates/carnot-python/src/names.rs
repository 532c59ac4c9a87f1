//! From a text to what stands for it, by the text's address: literals in Python code are one object each, so that the same line
//! finds its entry without hashing or comparing. An entry keeps its text alive, so that no other text can have its address.
//!
//! Spans that are told apart by a number are found by that.
//!
//! A table of each thread, of a fixed size: names that are made anew each time cost a look-up by value, and no memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use carnot_probe::{Kind, SiteId, site};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::span::Span;

const SLOTS: usize = 512;

struct Slot<T> {
    name: Py<PyString>,
    kind: Kind,
    value: T,
}

type Table<T> = RefCell<Vec<Option<Slot<T>>>>;

thread_local! {
    static SPANS: Table<Py<Span>> = const { RefCell::new(Vec::new()) };
    static SITES: Table<SiteId> = const { RefCell::new(Vec::new()) };
}

/// What a span with a number is: kind, number, items.
type Number = (Kind, u32, u32);
type Numbered = (Number, Py<Span>);

thread_local! {
    static NUMBERS: RefCell<Vec<Option<Numbered>>> = const { RefCell::new(Vec::new()) };
}

/// Sites by value: the probe's own search takes the longer the more there are.
static KNOWN: Mutex<Option<HashMap<(String, Kind), SiteId>>> = Mutex::new(None);

/// The site of this name and kind.
#[inline]
pub fn site_of(name: &Bound<'_, PyString>, kind: Kind) -> PyResult<SiteId> {
    if let Some(found) = look_up(&SITES, address(name), kind, |site| *site) {
        return Ok(found);
    }
    let found = known(name.to_str()?, kind);
    keep(&SITES, name, kind, found);
    Ok(found)
}

/// The span of this name and kind that has no number and no work: one object, however often it is asked for.
#[inline]
pub fn span_of(name: &Bound<'_, PyString>, kind: Kind) -> PyResult<Py<Span>> {
    let py = name.py();
    if let Some(found) = look_up(&SPANS, address(name), kind, |span| span.clone_ref(py)) {
        return Ok(found);
    }
    let site = known(name.to_str()?, kind);
    let span = Py::new(py, Span::plain(site))?;
    keep(&SPANS, name, kind, span.clone_ref(py));
    Ok(span)
}

/// The span that [`span_of`] gave for the text at this address, if it still has it.
#[inline]
pub fn kept_span(py: Python<'_>, address: usize, kind: Kind) -> Option<Py<Span>> {
    look_up(&SPANS, address, kind, |span| span.clone_ref(py))
}

/// The site of a name that is known only as text.
pub fn known(name: &str, kind: Kind) -> SiteId {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    *known
        .entry((name.to_owned(), kind))
        .or_insert_with(|| site(name, kind))
}

fn number_slot((kind, index, items): Number) -> usize {
    (index as usize ^ ((kind as usize) << 6) ^ ((items as usize) << 3)) % SLOTS
}

/// The span that was made for this number, if it is still there.
#[inline]
pub fn kept_number(py: Python<'_>, number: Number) -> Option<Py<Span>> {
    NUMBERS.with_borrow(|slots| {
        let (kept, span) = slots.get(number_slot(number))?.as_ref()?;
        (*kept == number).then(|| span.clone_ref(py))
    })
}

/// Keeps the span of a number in place of the one before it.
pub fn keep_number(number: Number, span: Py<Span>) {
    let _old = NUMBERS.with_borrow_mut(|slots| {
        if slots.is_empty() {
            slots.resize_with(SLOTS, || None);
        }
        slots[number_slot(number)].replace((number, span))
    });
}

fn slot(address: usize, kind: Kind) -> usize {
    // Objects lie 16 bytes apart at least.
    ((address >> 4) ^ (kind as usize)) % SLOTS
}

fn address(name: &Bound<'_, PyString>) -> usize {
    name.as_ptr() as usize
}

#[inline]
fn look_up<T, R>(
    table: &'static std::thread::LocalKey<Table<T>>,
    address: usize,
    kind: Kind,
    read: impl FnOnce(&T) -> R,
) -> Option<R> {
    table.with_borrow(|slots| {
        let slot = slots.get(slot(address, kind))?.as_ref()?;
        let is_same = slot.name.as_ptr() as usize == address && slot.kind == kind;
        is_same.then(|| read(&slot.value))
    })
}

fn keep<T>(
    table: &'static std::thread::LocalKey<Table<T>>,
    name: &Bound<'_, PyString>,
    kind: Kind,
    value: T,
) {
    let new = Slot {
        name: name.clone().unbind(),
        kind,
        value,
    };
    // Dropped outside: what a text's destructor does may come back here.
    let _old = table.with_borrow_mut(|slots| {
        if slots.is_empty() {
            slots.resize_with(SLOTS, || None);
        }
        slots[slot(address(name), kind)].replace(new)
    });
}
