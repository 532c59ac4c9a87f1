//! The Perfetto trace, decoded again.

use std::collections::HashMap;

use carnot_record::{CacheEvent, CacheOutcome, CounterSample, Flow, FrameEvent, Trace};
use carnot_report::perfetto;

use crate::{fixture, protobuf::Fields};

#[derive(Default)]
struct Decoded {
    /// Opened slices: track, name, begin, end, annotations.
    slices: Vec<Slice>,
    tracks: HashMap<u64, Fields>,
    instants: Vec<String>,
    /// Track name and value.
    samples: Vec<(String, f64)>,
    flows: Vec<(u64, bool)>,
}

struct Slice {
    track: u64,
    name: String,
    begin: u64,
    end: Option<u64>,
    numbers: HashMap<String, u64>,
}

fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let (mut names, mut keys) = (HashMap::new(), HashMap::new());
    let mut open: HashMap<u64, Vec<usize>> = HashMap::new();
    let packets = Fields::read(bytes).messages(1);
    assert_eq!(
        packets[0].number(13),
        Some(3),
        "the first packet clears the state"
    );
    for packet in packets {
        assert_eq!(packet.number(10), Some(1), "one sequence");
        if let Some(interned) = packet.message(12) {
            names.extend(
                interned
                    .messages(2)
                    .iter()
                    .map(|e| (e.number(1).unwrap(), e.text(2).unwrap())),
            );
            keys.extend(
                interned
                    .messages(3)
                    .iter()
                    .map(|e| (e.number(1).unwrap(), e.text(2).unwrap())),
            );
        }
        if let Some(track) = packet.message(60) {
            let uuid = track.number(1).expect("a track has an id");
            assert!(uuid != 0 && decoded.tracks.insert(uuid, track).is_none());
        }
        if let Some(event) = packet.message(11) {
            let time = packet.number(8).expect("an event has a time");
            decoded.event(&event, time, &names, &keys, &mut open);
        }
    }
    assert!(open.values().all(Vec::is_empty), "all slices are closed");
    decoded
}

impl Decoded {
    fn event(
        &mut self,
        event: &Fields,
        time: u64,
        names: &HashMap<u64, String>,
        keys: &HashMap<u64, String>,
        open: &mut HashMap<u64, Vec<usize>>,
    ) {
        let track = event.number(11).expect("an event is on a track");
        let name = event
            .number(10)
            .map(|iid| names[&iid].clone())
            .or(event.text(23));
        match event.number(9) {
            Some(1) => {
                let annotation = |a: Fields| Some((keys[&a.number(1)?].clone(), a.number(3)?));
                let numbers = event
                    .messages(4)
                    .into_iter()
                    .filter_map(annotation)
                    .collect();
                let name = name.expect("a slice has a name");
                open.entry(track).or_default().push(self.slices.len());
                self.slices.push(Slice {
                    track,
                    name,
                    begin: time,
                    end: None,
                    numbers,
                });
                self.flows.extend(
                    [(47, false), (48, true)]
                        .iter()
                        .filter_map(|(f, end)| Some((event.number(*f)?, *end))),
                );
            }
            Some(2) => {
                let slice = open
                    .get_mut(&track)
                    .and_then(Vec::pop)
                    .expect("an end has a begin");
                assert!(self.slices[slice].begin <= time, "time does not go back");
                self.slices[slice].end = Some(time);
            }
            Some(3) => self.instants.push(name.expect("an instant has a name")),
            Some(4) => {
                let value = f64::from_bits(event.number(44).expect("a sample has a value"));
                self.samples.push((
                    self.tracks[&track].text(2).expect("a counter has a name"),
                    value,
                ));
            }
            other => panic!("event type {other:?}"),
        }
        assert!(
            self.tracks.contains_key(&track),
            "tracks are described before they are used"
        );
    }
}

#[test]
fn every_span_is_a_slice_on_its_threads_track() {
    let trace = fixture::trace();
    let decoded = decode(&perfetto::render(&trace));
    assert_eq!(decoded.slices.len(), trace.spans.len());
    let threads: Vec<String> = decoded
        .tracks
        .values()
        .filter_map(|track| track.message(4)?.text(5))
        .collect();
    assert!(
        threads.contains(&"main".into()) && threads.contains(&"worker 1".into()),
        "{threads:?}"
    );
    let time: u64 = decoded
        .slices
        .iter()
        .map(|s| s.end.unwrap() - s.begin)
        .sum();
    assert_eq!(
        time,
        trace
            .spans
            .iter()
            .map(carnot_record::Span::duration_ns)
            .sum::<u64>()
    );
    let tracks: std::collections::HashSet<u64> =
        decoded.slices.iter().map(|slice| slice.track).collect();
    assert_eq!(tracks.len(), 2);
    assert!(
        decoded
            .slices
            .iter()
            .any(|slice| slice.name == "matmul q8_0 ffn_down")
    );
}

#[test]
fn numbers_of_spans_are_annotations() {
    let trace = fixture::trace();
    let decoded = decode(&perfetto::render(&trace));
    let sum = |name: &str| {
        decoded
            .slices
            .iter()
            .filter_map(|s| s.numbers.get(name))
            .sum::<u64>()
    };
    assert_eq!(
        sum("flops"),
        trace.spans.iter().map(|span| span.flops).sum::<u64>()
    );
    assert_eq!(
        sum("bytes"),
        trace.spans.iter().map(|span| span.bytes).sum::<u64>()
    );
    let layers = decoded
        .slices
        .iter()
        .filter(|slice| slice.numbers.contains_key("layer"))
        .count();
    assert_eq!(
        layers,
        trace
            .spans
            .iter()
            .filter(|span| span.layer.is_some())
            .count()
    );
}

#[test]
fn counters_instants_and_flows_are_there() {
    let event = |outcome| CacheEvent {
        time_ns: 5,
        cache: "prefix".into(),
        outcome,
        bytes: 9,
        key: None,
    };
    let trace = Trace {
        counters: vec![CounterSample {
            name: "batch".into(),
            time_ns: 3,
            value: 2.5,
            unit: "requests".into(),
        }],
        cache: [CacheOutcome::Hit, CacheOutcome::Miss, CacheOutcome::Evict]
            .map(event)
            .to_vec(),
        frames: vec![FrameEvent {
            index: 7,
            ..FrameEvent::default()
        }],
        flows: vec![
            Flow {
                id: 4,
                from: 0,
                to: 1,
            },
            Flow {
                id: 4,
                from: 1,
                to: 2,
            },
        ],
        ..fixture::trace()
    };
    let decoded = decode(&perfetto::render(&trace));
    assert!(decoded.samples.contains(&("batch".into(), 2.5)));
    assert!(
        decoded
            .samples
            .contains(&("memory weights".into(), 6_200_000.0))
    );
    assert!(
        decoded.samples.contains(&("memory arena".into(), 0.0)),
        "{:?}",
        decoded.samples
    );
    for name in [
        "token",
        "prefix hit",
        "prefix miss",
        "prefix evict",
        "frame 7",
    ] {
        assert!(decoded.instants.contains(&name.into()), "{name}");
    }
    let ends = decoded.flows.iter().filter(|(_, end)| *end).count();
    assert_eq!((decoded.flows.len(), ends), (3, 1));
}
