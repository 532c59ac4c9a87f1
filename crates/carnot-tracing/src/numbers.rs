//! The fields of spans that the probe has places for.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carnot_probe::Span;
use tracing::field::{Field, FieldSet, Visit};
use tracing::span::Id;

/// Fields that are taken; `layer` and `index` have one place.
const NAMES: [&str; 4] = ["layer", "index", "tokens", "request"];

/// Whether any of them is among the fields of a callsite.
pub fn are_among(fields: &FieldSet) -> bool {
    NAMES.iter().any(|name| fields.field(name).is_some())
}

/// What a span says of itself. A value that is no whole number from 0 to 2³² − 2 is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    layer: Option<u32>,
    tokens: Option<u32>,
    request: Option<u32>,
}

impl Numbers {
    /// Puts them onto a span of the probe.
    pub fn onto(self, span: Span) -> Span {
        let span = match self.layer {
            Some(layer) => span.layer(layer),
            None => span,
        };
        let span = match self.tokens {
            Some(tokens) => span.tokens(tokens),
            None => span,
        };
        match self.request {
            Some(request) => span.request(request),
            None => span,
        }
    }

    /// Takes over what `newer` has.
    fn update(&mut self, newer: Self) {
        self.layer = newer.layer.or(self.layer);
        self.tokens = newer.tokens.or(self.tokens);
        self.request = newer.request.or(self.request);
    }
}

impl Visit for Numbers {
    fn record_u64(&mut self, field: &Field, value: u64) {
        // The greatest stands for none.
        let Some(value) = u32::try_from(value).ok().filter(|value| *value < u32::MAX) else {
            return;
        };
        match field.name() {
            "layer" | "index" => self.layer = Some(value),
            "tokens" => self.tokens = Some(value),
            "request" => self.request = Some(value),
            _ => (),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.record_u64(field, value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Tables that spans are spread over, so that threads seldom wait for one another.
const TABLES: usize = 16;

/// The numbers of all spans that have some, until they close. Tables keep their room, so that nothing is allocated once they have grown.
#[derive(Debug, Default)]
pub struct NumbersOfSpans {
    tables: [Mutex<HashMap<u64, Numbers>>; TABLES],
    /// Of all tables: most programs have none, and then closing looks no further.
    count: AtomicUsize,
}

impl NumbersOfSpans {
    /// Adds to what is known of the span.
    pub fn put(&self, id: &Id, numbers: Numbers) {
        let mut table = self.table(id);
        let known = table.len();
        table.entry(id.into_u64()).or_default().update(numbers);
        self.count.fetch_add(table.len() - known, Ordering::Relaxed);
    }

    /// What is known of the span.
    pub fn of(&self, id: &Id) -> Option<Numbers> {
        self.table(id).get(&id.into_u64()).copied()
    }

    /// The span has closed; its number goes to another one.
    pub fn forget(&self, id: &Id) {
        if self.count.load(Ordering::Relaxed) > 0 && self.table(id).remove(&id.into_u64()).is_some()
        {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn table(&self, id: &Id) -> MutexGuard<'_, HashMap<u64, Numbers>> {
        let table = &self.tables[id.into_u64() as usize % TABLES];
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
