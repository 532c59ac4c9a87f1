//! What is written is read; of what is cut or garbled, all that is whole.

use std::collections::BTreeMap;
use std::io::Cursor;

use carnot_record::trace_file::{
    ClockPoint, EventKind, EventSite, FileError, Occurrence, RawEvent, TraceReader, TraceWriter,
};
use carnot_record::{Arithmetic, Note, Rank, Session, SpanKind, Thread};

fn site(name: &str, kind: EventKind) -> EventSite {
    EventSite {
        name: name.to_owned(),
        kind,
        file: String::new(),
        line: 0,
    }
}

fn session() -> Session {
    Session {
        id: "run".to_owned(),
        unit: "frames".to_owned(),
        rank: Some(Rank {
            rank: 1,
            world_size: 4,
            local_rank: 1,
        }),
        ..Session::default()
    }
}

/// Two lots of a hundred spans of ten ticks; a tick is half a nanosecond.
fn written() -> std::io::Result<Vec<u8>> {
    let mut writer = TraceWriter::new(Vec::new())?;
    let clock = |lot: u64| ClockPoint {
        ticks: 1000 + lot * 2000,
        ns_per_tick: 0.5,
        unix_ns: 5_000_000 + lot * 1000,
    };
    let span = EventKind::Span(SpanKind::Stage, Arithmetic::None);
    let sites = [site("stage", span), site("level", EventKind::Counter)];
    let threads = [Thread::default()];
    writer.session(&session())?;
    writer.clock(clock(0))?;
    for lot in 0..2 {
        writer.names(&sites, &threads)?;
        let events = (0..100).map(|index| RawEvent {
            start: 1000 + lot * 2000 + index * 20,
            end: 1010 + lot * 2000 + index * 20,
            layer: index as u32,
            ..RawEvent::default()
        });
        writer.events(events)?;
        writer.clock(clock(lot + 1))?;
    }
    writer.lost(&BTreeMap::from([(0, 7)]))?;
    let note = Note {
        name: "switch".to_owned(),
        time: 2000,
        data: serde_json::json!({"prompt": 2}),
    };
    writer.note(&note)?;
    Ok(writer.into_inner())
}

fn file() -> Vec<u8> {
    written().expect("memory takes all")
}

fn spans(bytes: &[u8]) -> Result<(usize, Vec<String>), FileError> {
    let mut reader = TraceReader::new(Cursor::new(bytes))?;
    let mut count = 0;
    reader.for_each(|site, number, occurrence| {
        let Occurrence::Span { times, .. } = occurrence else {
            panic!("a span")
        };
        assert_eq!((site.name.as_str(), number), ("stage", 0));
        assert_eq!(times.end_ns - times.start_ns, 5);
        count += 1;
    })?;
    Ok((count, reader.damage().to_vec()))
}

#[test]
fn what_is_written_is_read() {
    let bytes = file();
    let reader = TraceReader::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(reader.session(), &session());
    assert_eq!(
        (reader.length_ns(), reader.start_unix_ns()),
        (2000, 5_000_000)
    );
    assert_eq!(reader.lost(), &BTreeMap::from([(0, 7)]));
    assert_eq!(
        (reader.notes()[0].name.as_str(), reader.notes()[0].time),
        ("switch", 500)
    );
    assert_eq!(spans(&bytes).unwrap(), (200, vec![]));
}

#[test]
fn a_cut_file_reads_as_far_as_it_is_whole() {
    let bytes = file();
    let mut most = 0;
    for length in 0..bytes.len() {
        let Ok((count, damage)) = spans(&bytes[..length]) else {
            assert_eq!(most, 0, "what was readable stays so: {length}");
            continue;
        };
        assert!(count % 100 == 0 && count >= most, "{length}: {count}");
        assert!(damage.len() <= 1, "{damage:?}");
        most = count;
    }
    assert_eq!(most, 200);
}

#[test]
fn a_garbled_byte_costs_one_frame() {
    let bytes = file();
    for at in 12..bytes.len() {
        let mut garbled = bytes.clone();
        garbled[at] ^= 0x55;
        if let Ok(mut reader) = TraceReader::new(Cursor::new(&garbled)) {
            reader.for_each(|_, _, _| ()).unwrap();
        }
    }
    // In the middle of the first lot of events.
    let mut garbled = bytes.clone();
    let stage = bytes.windows(5).position(|of| of == b"stage").unwrap();
    let events = stage
        + bytes[stage..]
            .iter()
            .position(|byte| *byte == b'E')
            .unwrap();
    garbled[events + 60] ^= 1;
    let mut reader = TraceReader::new(Cursor::new(&garbled)).unwrap();
    let mut count = 0;
    reader.for_each(|_, _, _| count += 1).unwrap();
    assert_eq!(count, 100);
    assert!(
        reader.damage()[0].ends_with("left out"),
        "{:?}",
        reader.damage()
    );
}

#[test]
fn other_files_are_told_apart() {
    let error = |bytes: &[u8]| {
        TraceReader::new(Cursor::new(bytes))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(br#"{"schema": "carnot.trace"}"#),
        r#"not a trace file: expected it to begin with CARNOTTR, found "{\"schema""#
    );
    assert_eq!(
        error(b""),
        "not a trace file: expected it to begin with CARNOTTR, found 0 bytes"
    );
    let mut newer = file();
    newer[8] = 9;
    assert!(error(&newer).starts_with("the trace file has version 9, the newest"));
}
