//! What is recorded is what is drained. One test: the probe is one per process.
#![cfg(feature = "record")]

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use carnot_probe::{
    CacheOutcome, Frame, InSpan, Kind, RecordedEvent, cache, clock, counter, disable, drain,
    drop_frames, enable, frame, instant, memory, name_thread, record_span, set_limit, site, span,
    track,
};

#[test]
fn what_is_recorded_is_drained() {
    span!("before").end();
    assert!(drain().is_empty(), "nothing is recorded while off");

    enable();
    spans_nest_and_carry_their_work();
    events_keep_their_values();
    threads_have_tracks_of_their_own();
    futures_have_lanes();
    memory_is_bounded_and_drops_are_counted();

    disable();
    span!("after").end();
    assert!(drain().is_empty(), "nothing is recorded once off again");
}

fn spans_nest_and_carry_their_work() {
    let operation = site("matmul", Kind::OperationInt8);
    assert_eq!(
        operation,
        site("matmul", Kind::OperationInt8),
        "a name and a kind are one site"
    );
    {
        let _step = span!("step", Kind::Step).tokens(3);
        span(operation)
            .layer(2)
            .work(10, 20, 30)
            .sequence(7)
            .request(9)
            .end();
        span(operation).cancel();
    }
    let other = track("worker 1");
    let now = clock::ticks();
    record_span(operation, Some(other), now, now + 1000)
        .sequence(7)
        .end();
    let recording = drain();
    let spans: Vec<_> = recording.spans().collect();
    assert_eq!(spans.len(), 3);
    let (step, inner, outside) = (&spans[0], &spans[1], &spans[2]);
    assert_eq!(
        (step.name, step.tokens, step.layer, step.sequence),
        ("step", 3, None, None)
    );
    assert!(step.start_ns <= inner.start_ns && inner.end_ns <= step.end_ns);
    assert_eq!(
        (
            inner.layer,
            inner.flops,
            inner.bytes,
            inner.working_set_bytes
        ),
        (Some(2), 10, 20, 30)
    );
    assert_eq!((inner.sequence, inner.request), (Some(7), Some(9)));
    assert_eq!(recording.tracks[outside.track], "worker 1");
    assert!(recording.sites[step.site].file.ends_with("recording.rs"));
}

fn events_keep_their_values() {
    counter(site("queue depth", Kind::Counter), 4.5);
    instant(site("first token", Kind::Instant));
    memory(site("weights", Kind::Memory), -12, 77);
    cache(site("prefix", Kind::Cache), CacheOutcome::Evict, 5, 64);
    let sent = Frame {
        index: 3,
        count: 2,
        generate_ns: 100,
        encode_ns: 20,
        send_ns: 7,
        bytes: 5000,
        occupancy: Some(4),
        prompt: None,
    };
    frame(site("video", Kind::Frame), &sent);
    drop_frames(site("video", Kind::Frame), 6);
    let recording = drain();
    let events: Vec<_> = recording.events().collect();
    assert!(matches!(
        events[0],
        RecordedEvent::Counter {
            name: "queue depth",
            value: 4.5,
            ..
        }
    ));
    assert!(matches!(
        events[1],
        RecordedEvent::Instant {
            name: "first token",
            ..
        }
    ));
    assert!(matches!(
        events[2],
        RecordedEvent::Memory {
            owner: "weights",
            bytes: -12,
            id: 77,
            ..
        }
    ));
    assert!(matches!(
        events[3],
        RecordedEvent::Cache {
            cache: "prefix",
            outcome: CacheOutcome::Evict,
            key: 5,
            bytes: 64,
            ..
        }
    ));
    assert!(
        matches!(events[4], RecordedEvent::Frame { stream: "video", frame, .. } if frame == sent)
    );
    assert!(matches!(
        events[5],
        RecordedEvent::DroppedFrames {
            stream: "video",
            count: 6,
            ..
        }
    ));
}

fn threads_have_tracks_of_their_own() {
    let work = || (0..5000).for_each(|_| span!("work").end());
    std::thread::scope(|scope| {
        for name in ["first", "second"] {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, work).expect("a thread starts");
        }
        scope.spawn(|| {
            name_thread("named by hand");
            name_thread("too late");
            work();
        });
    });
    let recording = drain();
    for name in ["first", "second", "named by hand"] {
        let track = recording
            .tracks
            .iter()
            .position(|track| track == name)
            .expect("the thread has a track");
        assert_eq!(
            recording.spans().filter(|span| span.track == track).count(),
            5000
        );
    }
}

/// Ready at its second poll.
#[derive(Default)]
struct Twice {
    is_polled: bool,
}

impl Future for Twice {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.is_polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls both in turns, each on a thread of its own, until they are ready.
fn poll_in_turns(futures: &mut [Pin<Box<dyn Future<Output = ()> + Send + '_>>]) {
    let mut ready = vec![false; futures.len()];
    while ready.contains(&false) {
        for (future, ready) in futures
            .iter_mut()
            .zip(&mut ready)
            .filter(|(_, ready)| !**ready)
        {
            let poll = || {
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
            };
            let polled = std::thread::scope(|scope| scope.spawn(poll).join());
            *ready = polled.expect("it does not panic").is_ready();
        }
    }
}

fn futures_have_lanes() {
    let [outer, inner] = ["outer", "inner"].map(|name| site(name, Kind::Stage));
    let request = || {
        async move {
            Twice::default().in_span(inner).await;
            Twice::default().in_span(inner).await;
        }
        .in_span(outer)
    };
    poll_in_turns(&mut [Box::pin(request()), Box::pin(request())]);
    poll_in_turns(&mut [Box::pin(request())]);
    let recording = drain();
    let spans: Vec<_> = recording.spans().collect();
    let lanes: HashSet<_> = spans.iter().map(|span| span.track).collect();
    assert_eq!((spans.len(), lanes.len()), (9, 2), "lanes are used again");
    for lane in lanes {
        let on_lane: Vec<_> = spans.iter().filter(|span| span.track == lane).collect();
        for whole in on_lane.chunks(3) {
            assert_eq!(whole[0].name, "outer");
            assert!(whole[1].end_ns <= whole[2].start_ns && whole[2].end_ns <= whole[0].end_ns);
        }
    }
}

fn memory_is_bounded_and_drops_are_counted() {
    set_limit(1);
    for _ in 0..10_000 {
        span!("many").end();
    }
    let recording = drain();
    assert_eq!(recording.len() as u64 + recording.dropped, 10_000);
    assert!(recording.dropped > 0);
    set_limit(64 << 20);
}
