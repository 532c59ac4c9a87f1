//! Programs that use `tracing` record into the probe without change: [`layer`] goes onto their registry.
//!
//! ```text
//! span entered and left   an interval on that thread, each time: a future that is polled three times has three
//! event                   a point in time
//! layer | index           the layer, or the number of a block or step     ─┐ fields that are whole numbers,
//! tokens, request         likewise                                        ─┘ given at once or recorded later
//! ```
//!
//! A span is an interval of the kind [`Kind::Other`](carnot_probe::Kind::Other) under the name that its macro has; an event has the name that
//! `tracing` gives it, which is its place in the source. Other fields, messages and levels are left to other layers.
//!
//! What it costs beside the registry's own work: off, a load and a branch. On, two clock reads, a look at a table of this thread and a
//! push to its buffer; for spans that have one of the fields also an entry in a table of all threads, under a lock. Nothing is
//! allocated once the tables have grown.
//!
//! ```
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! let subscriber = tracing_subscriber::registry().with(carnot_tracing::layer());
//! tracing::subscriber::with_default(subscriber, || {
//!     carnot_probe::enable();
//!     tracing::info_span!("decode", layer = 3).in_scope(|| ());
//! });
//! let recording = carnot_probe::drain();
//! let decode = recording.spans().next().expect("a span");
//! assert_eq!((decode.name, decode.layer), ("decode", Some(3)));
//! ```

mod numbers;
mod open;
mod sites;

use carnot_probe::{instant, is_enabled, record_span};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use numbers::{Numbers, NumbersOfSpans};

/// A layer that records into the probe, while that is enabled.
pub fn layer() -> ProbeLayer {
    ProbeLayer {
        numbers: NumbersOfSpans::default(),
    }
}

/// Records into the probe what a program tells `tracing`; made by [`layer`].
///
/// A span has the numbers that it was given while recording was on. An interval is recorded when it ends, and is lost where recording is
/// off by then.
#[derive(Debug)]
pub struct ProbeLayer {
    numbers: NumbersOfSpans,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ProbeLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if is_enabled() && sites::of(attributes.metadata()).has_numbers {
            let mut numbers = Numbers::default();
            attributes.record(&mut numbers);
            self.numbers.put(id, numbers);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if is_enabled()
            && let Some(metadata) = context.metadata(id)
            && sites::of(metadata).has_numbers
        {
            let mut numbers = Numbers::default();
            values.record(&mut numbers);
            self.numbers.put(id, numbers);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if is_enabled()
            && let Some(metadata) = context.metadata(id)
        {
            open::begin(id, sites::of(metadata));
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let Some(interval) = open::end(id) else {
            return;
        };
        let site = interval.site;
        let span = record_span(site.id, None, interval.start, interval.end);
        let numbers = site.has_numbers.then(|| self.numbers.of(id));
        match numbers.flatten() {
            Some(numbers) => numbers.onto(span).end(),
            None => span.end(),
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_enabled() {
            instant(sites::of(event.metadata()).id);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.numbers.forget(&id);
    }
}
