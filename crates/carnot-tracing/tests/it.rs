//! What the probe has of what programs tell `tracing`.
#![expect(unsafe_code, reason = "an allocator that counts is made of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::thread;

use carnot_probe::{Kind, RecordedEvent, RecordedSpan, Recording, disable, drain, enable};
use tracing::{Span, Subscriber, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is handed on to the system's allocator, with what was handed in.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps what is asked of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: it was allocated above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// There is one probe.
static ALONE: Mutex<()> = Mutex::new(());

/// What `work` records, under a registry with the layer.
fn recorded(work: impl FnOnce()) -> Recording {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    drain();
    enable();
    tracing::subscriber::with_default(registry().with(carnot_tracing::layer()), work);
    disable();
    drain()
}

/// Names, layers, tokens and requests of spans, in the order in which they began.
type Told = (String, Option<u32>, u32, Option<u32>);

fn told(recording: &Recording) -> Vec<Told> {
    let mut spans: Vec<_> = recording.spans().collect();
    spans.sort_by_key(|span| span.start_ns);
    let one = |span: &RecordedSpan<'_>| {
        let name = span.name.to_owned();
        (name, span.layer, span.tokens, span.request)
    };
    spans.iter().map(one).collect()
}

fn plain(name: &str) -> Told {
    (name.to_owned(), None, 0, None)
}

#[test]
fn spans_nest_and_have_their_numbers() {
    let recording = recorded(|| {
        let _outer = info_span!("outer", request = 7_u64, name = "x").entered();
        info_span!("first", layer = 3, tokens = 5_usize).in_scope(|| ());
        info_span!("second", index = 4_u8, tokens = "five").in_scope(|| ());
        info_span!("third", layer = -1, request = u64::MAX).in_scope(|| ());
    });
    let expected = [
        ("outer".to_owned(), None, 0, Some(7)),
        ("first".to_owned(), Some(3), 5, None),
        ("second".to_owned(), Some(4), 0, None),
        plain("third"),
    ];
    assert_eq!(told(&recording), expected);
    let spans: Vec<_> = recording.spans().collect();
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (outer, first) = (of("outer"), of("first"));
    assert!(outer.start_ns <= first.start_ns && first.end_ns <= outer.end_ns);
    assert!(spans.iter().all(|span| span.kind == Kind::Other));
}

#[test]
fn numbers_that_come_later_count_and_stay_with_their_span() {
    let recording = recorded(|| {
        let span = info_span!("step", tokens = tracing::field::Empty, layer = 1);
        span.in_scope(|| span.record("tokens", 9));
        span.in_scope(|| ());
        drop(span);
        // Its place in the registry goes to this one.
        info_span!("step after", tokens = tracing::field::Empty).in_scope(|| ());
    });
    let step = ("step".to_owned(), Some(1), 9, None);
    assert_eq!(told(&recording), [step.clone(), step, plain("step after")]);
}

#[test]
fn a_span_that_is_entered_on_two_threads_is_an_interval_on_each() {
    let recording = recorded(|| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let span = info_span!("future", request = 2);
        span.in_scope(|| ());
        thread::scope(|scope| {
            let span = span.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || span.in_scope(|| ()));
            });
        });
    });
    let future = ("future".to_owned(), None, 0, Some(2));
    assert_eq!(told(&recording), [future.clone(), future]);
    let tracks: Vec<_> = recording.spans().map(|span| span.track).collect();
    assert_ne!(tracks[0], tracks[1]);
}

#[test]
fn spans_may_be_left_in_any_order_and_entered_again_within_themselves() {
    let recording = recorded(|| {
        let (a, b) = (info_span!("a"), info_span!("b"));
        let in_a = a.enter();
        let in_b = b.enter();
        drop(in_a);
        drop(in_b);
        a.in_scope(|| a.in_scope(|| ()));
    });
    let expected = ["a", "b", "a", "a"].map(plain);
    assert_eq!(told(&recording), expected);
}

#[test]
fn an_event_is_a_point_in_time() {
    let recording = recorded(|| info!(tokens = 3, "told"));
    let events: Vec<_> = recording.events().collect();
    let [RecordedEvent::Instant { name, .. }] = events.as_slice() else {
        panic!("expected a point in time, got {events:?}");
    };
    assert!(
        name.starts_with("event ") && name.contains("it.rs:"),
        "{name}"
    );
    assert_eq!(recording.spans().count(), 0);
}

#[test]
fn what_began_while_nothing_was_recorded_is_left_out() {
    let recording = recorded(|| {
        disable();
        let span = info_span!("before", layer = 1).entered();
        enable();
        info_span!("after").in_scope(|| ());
        drop(span);
        info_span!("last").in_scope(|| ());
    });
    assert_eq!(told(&recording), ["after", "last"].map(plain));
}

/// What a thousand spans allocate, after as many.
fn allocations(subscriber: impl Subscriber + Send + Sync) -> usize {
    let spans = || {
        for layer in 0..1000 {
            let span: Span = info_span!("plain");
            span.in_scope(|| info_span!("with numbers", layer, tokens = 2).in_scope(|| ()));
        }
    };
    tracing::subscriber::with_default(subscriber, || {
        spans();
        carnot_probe::reserve(10_000);
        let before = ALLOCATIONS.get();
        spans();
        ALLOCATIONS.get() - before
    })
}

#[test]
fn a_span_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    enable();
    let count = allocations(registry().with(carnot_tracing::layer()));
    disable();
    drain();
    // Two thousand spans; tables of the registry may have to grow once more.
    assert!(count < 5, "{count}");
}
