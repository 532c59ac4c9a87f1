//! Latencies as an HDR histogram log, version 1.3: the text that `HistogramLogProcessor`, `hdr-plot` and their like read.
//!
//! ```text
//! Tag=end_to_end,12.000,1.000,38.912,HISTFAAAA…
//!                │      │     │      └ base64 of a compressed histogram in the encoding V2, values in nanoseconds
//!                │      │     └ the largest value, in milliseconds
//!                │      └ a second
//!                └ that began 12 s after the base time
//! ```
//!
//! Values are kept to three significant digits: a bucket of values from `2ⁿ` has 1024 counts (<https://github.com/HdrHistogram/HdrHistogram>). They count from
//! when requests were due, so that none is missing of those that a stall kept from being sent, and no reader should correct for that.
//! Encoding is some sixty lines here; the crate that others use reads it back in a test.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::Raw;

/// Answers of a load that was put on a server.
#[derive(Clone, Copy, Debug)]
pub struct HdrRun<'a> {
    /// When the load began.
    pub begun: SystemTime,
    /// Its requests; those that failed have no latency.
    pub requests: &'a [Raw],
}

/// Tags of the series, in the order in which they are written within an interval.
const TAGS: [&str; 3] = ["time_to_first_token", "end_to_end", "inter_piece"];
const INTERVAL_NS: u64 = 1_000_000_000;
/// Nanoseconds of what is told as the largest value: readers divide by so many unless they are told otherwise.
const NS_PER_MS: f64 = 1e6;

const SIGNIFICANT_DIGITS: u32 = 3;
/// An hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Half of the least power of two that tells 2 · 10³ values apart.
const HALF: u64 = 1024;
const COOKIE: u32 = 0x1c84_9313;
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;

/// Writes the latencies of runs that followed one another: a line for each second and each series that has values in it. A request
/// is in the second in which it was due, the time between two pieces in that of the second.
pub fn write_hdr(runs: &[HdrRun], mut to: impl Write) -> io::Result<()> {
    let begun = runs.first().map_or(SystemTime::UNIX_EPOCH, |run| run.begun);
    let since_epoch = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    };
    let base = since_epoch(begun).as_secs_f64();
    writeln!(to, "#[Histogram log format version 1.3]")?;
    writeln!(
        to,
        "#Latencies of requests in nanoseconds, the largest of an interval in milliseconds, from when requests were due: they need no correction for coordinated omission"
    )?;
    writeln!(to, "#[StartTime: {base:.3} (seconds since epoch)]")?;
    writeln!(to, "#[BaseTime: {base:.3} (seconds since epoch)]")?;
    for run in runs {
        let after = run.begun.duration_since(begun).unwrap_or_default();
        for ((second, tag), histogram) in intervals(run.requests) {
            let start = (after + Duration::from_secs(second)).as_secs_f64();
            let most = histogram.most as f64 / NS_PER_MS;
            let (tag, encoded) = (TAGS[tag], base64::encode(histogram.compressed()?));
            writeln!(to, "Tag={tag},{start:.3},1.000,{most:.3},{encoded}")?;
        }
    }
    to.flush()
}

/// By seconds and tags.
fn intervals(requests: &[Raw]) -> BTreeMap<(u64, usize), Histogram> {
    let mut intervals: BTreeMap<_, Histogram> = BTreeMap::new();
    let mut count = |at: u64, tag: usize, from: u64, to: u64| {
        let interval = intervals.entry((at / INTERVAL_NS, tag)).or_default();
        interval.count(to.saturating_sub(from));
    };
    for request in requests.iter().filter(|request| request.failure.is_none()) {
        let due = request.due_ns;
        if let Some(&first) = request.pieces_ns.first() {
            count(due, 0, due, first);
        }
        count(due, 1, due, request.ended_ns);
        for pair in request.pieces_ns.windows(2) {
            count(pair[1], 2, pair[0], pair[1]);
        }
    }
    intervals
}

/// How many values fall into each place of the array that all HDR histograms of these bounds have; those that are 0 left out.
#[derive(Default)]
struct Histogram {
    counts: BTreeMap<u64, u64>,
    most: u64,
}

impl Histogram {
    fn count(&mut self, value: u64) {
        let value = value.min(HIGHEST_NS);
        *self.counts.entry(place(value)).or_default() += 1;
        self.most = self.most.max(value);
    }

    fn compressed(&self) -> io::Result<Vec<u8>> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.encoded())?;
        let deflated = encoder.finish()?;
        let length = (deflated.len() as u32).to_be_bytes();
        Ok([&COMPRESSED_COOKIE.to_be_bytes()[..], &length, &deflated].concat())
    }

    fn encoded(&self) -> Vec<u8> {
        let mut counts = Vec::new();
        let mut next = 0;
        for (&place, &count) in &self.counts {
            match place - next {
                0 => (),
                1 => push(0, &mut counts),
                zeros => push(-(zeros as i64), &mut counts),
            }
            push(count as i64, &mut counts);
            next = place + 1;
        }
        let no_offset = 0_u32;
        let head = [COOKIE, counts.len() as u32, no_offset, SIGNIFICANT_DIGITS];
        let mut encoded = head.map(u32::to_be_bytes).concat();
        encoded.extend([1, HIGHEST_NS].map(u64::to_be_bytes).concat());
        encoded.extend(1.0_f64.to_be_bytes());
        encoded.extend(counts);
        encoded
    }
}

/// Where a value is counted: values below 2048 each by themselves, above that 1024 places for each power of two.
fn place(value: u64) -> u64 {
    let power =
        u64::from((2 * HALF - 1).leading_zeros() - (value | (2 * HALF - 1)).leading_zeros());
    power * HALF + (value >> power)
}

/// A signed number in as few groups of seven bits as it needs, the lowest first; its sign is the lowest bit.
fn push(number: i64, to: &mut Vec<u8>) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        to.push(left as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram as Known;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::dice::Dice;
    use crate::load::{Latencies, first, gaps, whole};

    fn read(encoded: &str) -> Known<u64> {
        let bytes = base64::decode(encoded).unwrap();
        Deserializer::new().deserialize(&mut &bytes[..]).unwrap()
    }

    /// All values of a tag, and in how many intervals they are.
    fn of_tag(log: &[u8], wanted: &str) -> (Known<u64>, usize) {
        let mut all = Known::new_with_bounds(1, HIGHEST_NS, 3).unwrap();
        let mut count = 0;
        for entry in IntervalLogIterator::new(log) {
            let LogEntry::Interval(interval) = entry.unwrap() else {
                continue;
            };
            if interval.tag().unwrap().as_str() == wanted {
                let histogram = read(interval.encoded_histogram());
                let most = histogram.max() as f64 / NS_PER_MS;
                assert!((most / interval.max() - 1.0).abs() < 1e-3, "{interval:?}");
                all.add(&histogram).unwrap();
                count += 1;
            }
        }
        (all, count)
    }

    /// Requests over five seconds, with latencies from microseconds to a minute.
    fn requests() -> Vec<Raw> {
        let mut dice = Dice(1);
        let mut one = |index: u64| {
            let due_ns = index * 5_000_000;
            let mut at = due_ns;
            let mut later = || {
                at += (1e3 * (7.0 * dice.uniform()).exp().powi(2)) as u64;
                at
            };
            Raw {
                due_ns,
                sent_ns: due_ns,
                pieces_ns: vec![later(), later(), later()],
                ended_ns: later(),
                tokens: 3,
                ..Raw::default()
            }
        };
        (0..1000).map(&mut one).collect()
    }

    #[test]
    fn quantiles_are_ours_to_three_digits_in_what_others_read() {
        let mut requests = requests();
        let answered = requests.clone();
        // What failed has no latency.
        requests.push(Raw {
            failure: Some("status 503".to_owned()),
            ended_ns: HIGHEST_NS,
            ..Raw::default()
        });
        let mut log = Vec::new();
        let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let run = HdrRun {
            begun,
            requests: &requests,
        };
        write_hdr(&[run], &mut log).unwrap();
        let series: [(&str, Vec<f64>); 3] = [
            (TAGS[0], answered.iter().filter_map(first).collect()),
            (TAGS[1], answered.iter().map(whole).collect()),
            (TAGS[2], answered.iter().flat_map(gaps).collect()),
        ];
        for (tag, values) in series {
            let (read, intervals) = of_tag(&log, tag);
            assert_eq!(read.len(), values.len() as u64, "{tag}");
            assert!(intervals >= 5, "{tag}: {intervals}");
            let ours = Latencies::of(values).unwrap();
            for (share, ours) in [
                (0.5, ours.p50),
                (0.9, ours.p90),
                (0.99, ours.p99),
                (1.0, ours.max),
            ] {
                let theirs = read.value_at_quantile(share) as f64 / 1e9;
                assert!(
                    (theirs / ours - 1.0).abs() < 1e-3,
                    "{tag} {share}: {theirs}, {ours}"
                );
            }
        }
    }

    #[test]
    fn runs_that_follow_one_another_are_on_one_axis() {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let requests = [Raw {
            ended_ns: 7,
            ..Raw::default()
        }];
        let at = |seconds| HdrRun {
            begun: begun + Duration::from_secs(seconds),
            requests: &requests,
        };
        let mut log = Vec::new();
        write_hdr(&[at(0), at(60)], &mut log).unwrap();
        let mut starts = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::Interval(interval) => starts.push(interval.start_timestamp()),
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => {
                    assert_eq!(at, Duration::from_millis(1_700_000_000_250));
                }
            }
        }
        assert_eq!(starts, [0, 60].map(Duration::from_secs));
    }

    #[test]
    fn every_value_has_the_place_that_others_give_it() {
        let mut dice = Dice(2);
        let random = (0..2000).map(|_| (dice.uniform() * HIGHEST_NS as f64) as u64);
        let edges = (0..42).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
        for value in random.chain(edges).filter(|value| *value <= HIGHEST_NS) {
            let mut ours = Histogram::default();
            ours.count(value);
            let read = read(&base64::encode(ours.compressed().unwrap()));
            let mut known = Known::<u64>::new_with_bounds(1, HIGHEST_NS, 3).unwrap();
            known.record(value).unwrap();
            assert_eq!(read, known, "{value}");
        }
    }
}
