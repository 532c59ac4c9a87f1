//! A pipeline's session, from its file to each form.

use std::collections::HashMap;
use std::io::{self, Cursor};

use carnot_analyze::pipeline::{PipelineAnalysis, Ranks, View, ranks, read};
use carnot_record::trace_file::{
    ClockPoint, EventKind, EventSite, RawEvent, SpanTimes, TraceReader, TraceWriter,
};
use carnot_record::{Arithmetic, Note, Outcome, PipelineModel, Rank, Session, SpanKind, Thread};
use carnot_report::pipeline::{
    PerfettoStream, Template, TimelineBuilder, html, json, markdown, text,
};

use crate::page::drawn_page;
use crate::protobuf::Fields;

const MS: u64 = 1_000_000;
const NAMES: [(&str, EventKind); 10] = [
    (
        "diffusion",
        EventKind::Span(SpanKind::Stage, Arithmetic::None),
    ),
    (
        "vae <decoding>",
        EventKind::Span(SpanKind::Stage, Arithmetic::None),
    ),
    ("block", EventKind::Span(SpanKind::Block, Arithmetic::None)),
    (
        "attention",
        EventKind::Span(SpanKind::Layer, Arithmetic::F32),
    ),
    (
        "memory_bank",
        EventKind::Span(SpanKind::Stage, Arithmetic::None),
    ),
    ("bank", EventKind::Memory),
    ("frames", EventKind::Cache),
    ("video", EventKind::Frame),
    ("gpu0/power_watts", EventKind::Counter),
    ("bank::Bank::keep", EventKind::Allocation),
];

fn span(site: u32, start_ms: u64, end_ms: u64) -> RawEvent {
    RawEvent {
        site,
        start: start_ms * MS,
        end: end_ms * MS,
        ..RawEvent::default()
    }
}

/// Twelve blocks of 10 ms, then decoding; a tick is a nanosecond.
fn events() -> Vec<RawEvent> {
    let mut events = Vec::new();
    for block in 0..12_u32 {
        let start = u64::from(block) * 10;
        events.push(RawEvent {
            flops: 1000,
            layer: 0,
            ..span(3, start, start + 6)
        });
        events.push(span(4, start + 6, start + 8));
        events.push(RawEvent {
            layer: block,
            tokens: 3,
            ..span(2, start, start + 10)
        });
        let now = (start + 10) * MS;
        events.push(RawEvent {
            site: 5,
            start: now,
            bytes: 2 << 20,
            flops: 7,
            ..RawEvent::default()
        });
        events.push(RawEvent {
            site: 5,
            start: now + 5,
            bytes: (-(2_i64 << 20)).cast_unsigned(),
            flops: 7,
            ..RawEvent::default()
        });
        let is_hit = u32::from(block < 4);
        events.push(RawEvent {
            site: 6,
            start: now,
            tokens: is_hit,
            flops: 1 + u64::from(block % 4),
            bytes: 100,
            ..RawEvent::default()
        });
        let frame = RawEvent {
            site: 7,
            start: now,
            end: 9 * MS,
            flops: MS,
            bytes: 5000,
            tokens: block * 3,
            layer: 1,
            ..RawEvent::default()
        };
        events.push(RawEvent {
            sequence_and_request: 3 << 32 | u64::from(u32::MAX),
            ..frame
        });
        events.push(RawEvent {
            site: 8,
            start: now,
            bytes: 250.0_f64.to_bits(),
            ..RawEvent::default()
        });
        let taken = RawEvent {
            site: 9,
            start: now,
            bytes: 65_536,
            working_set_bytes: 65_536,
            tokens: 1,
            flops: u64::from(block) + 1,
            ..RawEvent::default()
        };
        events.push(taken);
        if block % 3 == 2 {
            events.push(RawEvent {
                start: now + 1,
                bytes: (-65_536_i64).cast_unsigned(),
                ..taken
            });
        }
    }
    events.push(span(0, 0, 121));
    events.push(span(1, 121, 160));
    events
}

fn written(rank: Option<u32>) -> io::Result<Vec<u8>> {
    let session = Session {
        id: "worked example".to_owned(),
        unit: "frames".to_owned(),
        tags: [("model".to_owned(), "tiny".to_owned())].into(),
        rank: rank.map(|rank| Rank {
            rank,
            world_size: 2,
            local_rank: rank,
        }),
        started_unix_ns: 1_795_000_000_000_000_000,
        models: vec![PipelineModel {
            name: "unet".to_owned(),
            kind: "diffusion".to_owned(),
            parameters: 1_300_000_000,
        }],
        outcome: Some(Outcome::Completed),
        ..Session::default()
    };
    let site = |(name, kind): &(&str, EventKind)| EventSite {
        name: (*name).to_owned(),
        kind: *kind,
        file: match kind {
            EventKind::Allocation => "bank/src/bank.rs".to_owned(),
            _ => String::new(),
        },
        line: u32::from(*kind == EventKind::Allocation) * 42,
    };
    let clock = |ticks| ClockPoint {
        ticks,
        ns_per_tick: 1.0,
        unix_ns: 1_795_000_000_000_000_000 + ticks,
    };
    let mut writer = TraceWriter::new(Vec::new())?;
    writer.session(&session)?;
    writer.clock(clock(0))?;
    writer.names(
        &NAMES.iter().map(site).collect::<Vec<_>>(),
        &[Thread {
            name: "main".to_owned(),
            ..Thread::default()
        }],
    )?;
    writer.events(events())?;
    writer.note(&Note {
        name: "switch".to_owned(),
        time: 50 * MS,
        data: serde_json::json!({"to": "</script>"}),
    })?;
    writer.clock(clock(160 * MS))?;
    Ok(writer.into_inner())
}

fn open(rank: Option<u32>) -> TraceReader<Cursor<Vec<u8>>> {
    let bytes = written(rank).expect("memory takes all");
    TraceReader::new(Cursor::new(bytes)).expect("it was written a moment ago")
}

fn analysed(rank: Option<u32>) -> PipelineAnalysis {
    let view = View {
        playback_fps: Some(240.0),
        ..View::default()
    };
    read(&mut open(rank), view).expect("it is in memory")
}

fn two_ranks() -> Ranks {
    ranks(&[analysed(Some(0)), analysed(Some(1))], &[0, 1500])
}

#[test]
fn the_five_sections_as_text() {
    insta::assert_snapshot!(text(&analysed(None), None, Template::Pipeline));
}

#[test]
fn everything_as_text() {
    insta::assert_snapshot!(text(&analysed(Some(0)), Some(&two_ranks()), Template::Full));
}

#[test]
fn everything_as_markdown() {
    let page = markdown(&analysed(None), None, Template::Full);
    assert!(
        page.contains("| vae \\<decoding> | 39.0 ms | 24.4 % |"),
        "{page}"
    );
    insta::assert_snapshot!(page);
}

#[test]
fn fields_have_the_names_that_others_gave_them() {
    let report: serde_json::Value = serde_json::from_str(&json(&analysed(None), None)).unwrap();
    let stages = &report["stage_analysis"]["stages"];
    assert_eq!(stages["diffusion"]["total_time"], 0.121);
    assert_eq!(report["block_analysis"]["total_blocks"], 12);
    assert_eq!(report["block_analysis"]["total_frames"], 36);
    assert_eq!(report["streaming_analysis"]["avg_encoding_time_ms"], 1.0);
    assert_eq!(
        report["cache_analysis"]["frames"]["cache_performance"]["total_requests"],
        12
    );
    assert_eq!(
        report["memory_analysis"]["allocation_patterns"]["bank"]["total_bytes_allocated"],
        24 << 20
    );
    let places = &report["memory_analysis"]["allocation_places"]["places"];
    assert_eq!(places[0]["place"], "bank/src/bank.rs:42");
    // Each is seen with the probability 1 − 1/e.
    let allocations = places[0]["allocations"].as_f64().unwrap();
    assert!((allocations - 12.0 / (1.0 - (-1.0_f64).exp())).abs() < 1e-9);
    assert_eq!(
        report["model_analysis"]["total_parameters_readable"],
        "1.30B"
    );
    let energy = report["gpu_metrics"]["gpu0"]["total_energy_wh"]
        .as_f64()
        .unwrap();
    assert!((energy - 250.0 * 0.11 / 3600.0).abs() < 1e-9, "{energy}");
}

#[test]
fn the_page_draws_all_its_parts() {
    let timeline = TimelineBuilder::read(&mut open(Some(0)), None).unwrap();
    let page = html(&analysed(Some(0)), Some(&two_ranks()), &timeline, None);
    assert!(
        !page.contains("{\"to\":\"</script>"),
        "a note cannot end the script"
    );
    let Some(dom) = drawn_page(&page) else {
        eprintln!("skipped: no Chromium is installed (Debian package chromium)");
        return;
    };
    assert!(dom.contains("data-drawn=\"true\""));
    // The script has the words, but makes the element only where a part fails.
    let failed = "<p class=\"failed\">";
    assert!(
        !dom.contains(failed),
        "{:?}",
        dom.split(failed).nth(1).map(|rest| &rest[..80])
    );
    for told in [
        "worked example",
        "vae &lt;decoding&gt;",
        "within diffusion",
        "memory_bank",
        "bank::Bank::keep",
        "bank/src/bank.rs:42",
        "rank 0 of 2",
        "gpu0/power_watts",
        "slowest rank",
    ] {
        assert!(dom.contains(told), "{told}");
    }
}

/// The lead and the rows of the list of events of a page.
fn events_listed(page: &str) -> Option<(String, usize)> {
    let dom = drawn_page(page)?;
    let (_, lead) = dom.split_once("id=\"events-lead\">").unwrap();
    let (_, list) = dom.split_once("id=\"events\"").unwrap();
    let list = list.split("</section>").next().unwrap();
    let rows = list.matches("<tr>").count() - 1;
    Some((lead.split('<').next().unwrap().to_owned(), rows))
}

#[test]
fn the_page_lists_the_events_that_its_timeline_shows() {
    let timeline = TimelineBuilder::read(&mut open(None), None).unwrap();
    let page = html(&analysed(None), None, &timeline, None);
    let Some(all) = events_listed(&page) else {
        eprintln!("skipped: no Chromium is installed (Debian package chromium)");
        return;
    };
    assert_eq!(all, ("38 in view.".to_owned(), 38));
    let looked_for = page.replace("type=\"search\"", "type=\"search\" value=\" ATTEN\"");
    let told = "12 in view with “atten” in their name.".to_owned();
    assert_eq!(events_listed(&looked_for), Some((told, 12)));

    let mut many = TimelineBuilder::new(0, 10 * MS);
    for at in 0..2500 {
        let times = SpanTimes {
            thread: 0,
            start_ns: at * 1000,
            end_ns: at * 1000 + 500,
        };
        many.take(times, 3, None);
    }
    let reader = open(None);
    let timeline = many.finish(reader.sites(), reader.threads());
    let page = html(&analysed(None), None, &timeline, None);
    let told = "2,500 in view; the first 2,000 are listed.".to_owned();
    assert_eq!(events_listed(&page), Some((told, 2000)));
}

#[test]
fn a_trace_of_two_ranks_has_two_processes_and_every_span_on_its_thread() {
    let mut stream = PerfettoStream::new(Vec::new());
    stream.file(&mut open(Some(0)), 0).unwrap();
    stream.file(&mut open(Some(1)), 5 * MS as i64).unwrap();
    let bytes = stream.finish().unwrap();
    let mut names: HashMap<(u64, u64), String> = HashMap::new();
    let mut processes = Vec::new();
    let mut slices: HashMap<String, (u64, u64)> = HashMap::new();
    let mut last: HashMap<u64, u64> = HashMap::new();
    for packet in Fields::read(&bytes).messages(1) {
        let sequence = packet.number(10).expect("every packet is on a sequence");
        for name in packet
            .message(12)
            .iter()
            .flat_map(|interned| interned.messages(2))
        {
            names.insert((sequence, name.number(1).unwrap()), name.text(2).unwrap());
        }
        processes.extend(
            packet
                .message(60)
                .and_then(|track| track.message(3)?.text(6)),
        );
        let Some(event) = packet.message(11) else {
            continue;
        };
        let time = packet.number(8).unwrap();
        match event.number(9) {
            Some(1) => {
                let name = names[&(sequence, event.number(10).unwrap())].clone();
                let (count, _) = slices.entry(format!("{sequence} {name}")).or_default();
                *count += 1;
                last.insert(event.number(11).unwrap(), time);
            }
            Some(2) => {
                let begun = last[&event.number(11).unwrap()];
                slices.entry(format!("{sequence} time")).or_default().1 += time - begun;
            }
            _ => {}
        }
    }
    assert_eq!(
        processes,
        ["rank 0 worked example", "rank 1 worked example"]
    );
    for sequence in [1, 2] {
        assert_eq!(slices[&format!("{sequence} block")].0, 12);
        let all = slices[&format!("{sequence} time")].1;
        assert_eq!(all, (12 * (6 + 2 + 10) + 121 + 39) * MS);
    }
    assert_eq!(
        last.values().max(),
        Some(&(126 * MS)),
        "the second rank is moved by 5 ms"
    );
}
