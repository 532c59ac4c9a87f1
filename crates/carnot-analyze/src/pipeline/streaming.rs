//! Streams of frames (or of whatever is delivered piece by piece), by definitions that are in `docs/pipelines.md`.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::histogram::{Histogram, Spread};
use super::series::Curve;
use crate::statistics::ratio;

/// The current rate is over the last so many nanoseconds, however many deliveries that is.
const WINDOW_NS: u64 = 2_000_000_000;

/// How a stream went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Streaming {
    /// Its name.
    pub stream: String,
    /// Deliveries, each of one frame or several.
    pub deliveries: u64,
    /// Frames that were delivered.
    pub frames: u64,
    /// Frames that were given up.
    pub dropped: u64,
    /// `dropped` of all.
    pub drop_share: f64,
    /// From the start of the session to the first delivery.
    pub first_frame_ns: u64,
    /// Frames of all deliveries but the first over the time from the first to the last; 0 of one.
    pub mean_fps: f64,
    /// The same over the last two seconds.
    pub current_fps: f64,
    /// From one delivery to the next.
    pub interval: Spread,
    /// 99th percentile of intervals less the median.
    pub jitter_ns: u64,
    /// Root of the mean square by which intervals differ from their mean.
    pub reproduction_jitter_ns: f64,
    /// Making a delivery.
    pub generate: Spread,
    /// Encoding it.
    pub encode: Spread,
    /// Sending it.
    pub send: Spread,
    /// Frames waiting in the buffer, at deliveries that said so; `None` where none did.
    pub occupancy: Option<Occupancy>,
    /// Encoded bytes.
    pub bytes: u64,
    /// What a viewer would see; `None` where nobody said how fast frames are shown.
    pub playback: Option<Playback>,
    /// From the begin of each prompt to the first frame that shows it.
    pub prompt_latency: Vec<PromptLatency>,
    /// Frames a second over time.
    pub rate: Curve,
}

/// Frames waiting in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Occupancy {
    /// The least.
    pub min: u32,
    /// The mean of what deliveries said.
    pub mean: f64,
    /// The most.
    pub max: u32,
}

/// What a viewer would see who begins with the first delivery and shows frames at a constant rate, waiting where one is not there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Playback {
    /// Frames a second that are shown.
    pub fps: f64,
    /// Seconds shown over seconds that making them took; above 1 the pipeline keeps up.
    pub real_time_factor: f64,
    /// Time in which the picture stood still.
    pub stall_ns: u64,
    /// How often it did.
    pub stalls: u64,
    /// Deliveries that came after the time at which a viewer who never waits would have shown them.
    pub deadline_misses: u64,
}

/// A change of prompt, as a viewer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PromptLatency {
    /// The prompt.
    pub prompt: u32,
    /// From its begin to its first frame.
    pub ns: u64,
}

/// A delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivery {
    pub time_ns: u64,
    pub count: u64,
    pub generate_ns: u64,
    pub encode_ns: u64,
    pub send_ns: u64,
    pub bytes: u64,
    pub occupancy: Option<u32>,
    pub prompt: Option<u32>,
}

/// A stream as it goes by.
#[derive(Debug)]
pub(super) struct Stream {
    playback_fps: Option<f64>,
    deliveries: u64,
    frames: u64,
    of_first: u64,
    pub dropped: u64,
    first_ns: u64,
    last_ns: u64,
    intervals: Histogram,
    /// Mean and sum of squared differences of intervals, after Welford.
    mean: f64,
    squares: f64,
    generate: Histogram,
    encode: Histogram,
    send: Histogram,
    bytes: u64,
    occupancy: Option<(u32, u64, u64, u32)>,
    recent: VecDeque<(u64, u64)>,
    rate: Curve,
    first_of_prompt: BTreeMap<u32, u64>,
    shown: Shown,
}

/// The viewer: when the frame after those that have come is to be shown.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    next_ns: f64,
    /// The same for a viewer who never waits.
    deadline_ns: f64,
    stall_ns: f64,
    stalls: u64,
    misses: u64,
}

impl Stream {
    pub fn new(playback_fps: Option<f64>, most_points: usize) -> Self {
        Self {
            playback_fps,
            deliveries: 0,
            frames: 0,
            of_first: 0,
            dropped: 0,
            first_ns: 0,
            last_ns: 0,
            intervals: Histogram::default(),
            mean: 0.0,
            squares: 0.0,
            generate: Histogram::default(),
            encode: Histogram::default(),
            send: Histogram::default(),
            bytes: 0,
            occupancy: None,
            recent: VecDeque::new(),
            rate: Curve::new(most_points),
            first_of_prompt: BTreeMap::new(),
            shown: Shown::default(),
        }
    }

    pub fn deliver(&mut self, delivery: &Delivery) {
        let Delivery { time_ns, count, .. } = *delivery;
        if self.deliveries == 0 {
            (self.first_ns, self.of_first) = (time_ns, count);
            (self.shown.next_ns, self.shown.deadline_ns) = (time_ns as f64, time_ns as f64);
        } else {
            let interval = time_ns.saturating_sub(self.last_ns);
            self.intervals.add(interval);
            let apart = interval as f64 - self.mean;
            self.mean += apart / self.deliveries as f64;
            self.squares += apart * (interval as f64 - self.mean);
        }
        self.last_ns = self.last_ns.max(time_ns);
        self.deliveries += 1;
        self.frames += count;
        self.bytes = self.bytes.saturating_add(delivery.bytes);
        self.generate.add(delivery.generate_ns);
        self.encode.add(delivery.encode_ns);
        self.send.add(delivery.send_ns);
        if let Some(now) = delivery.occupancy {
            let (min, sum, times, max) = self.occupancy.unwrap_or((now, 0, 0, now));
            self.occupancy = Some((min.min(now), sum + u64::from(now), times + 1, max.max(now)));
        }
        if let Some(prompt) = delivery.prompt {
            self.first_of_prompt.entry(prompt).or_insert(time_ns);
        }
        if let Some(fps) = self.playback_fps {
            self.shown.deliver(time_ns as f64, count as f64 / fps * 1e9);
        }
        self.recent.push_back((time_ns, count));
        while self.recent.len() > 2 && time_ns.saturating_sub(self.recent[0].0) > WINDOW_NS {
            self.recent.pop_front();
        }
        if let Some(fps) = self.current_fps() {
            self.rate.add(time_ns, fps);
        }
    }

    fn current_fps(&self) -> Option<f64> {
        let (&(first, of_first), &(last, _)) = (self.recent.front()?, self.recent.back()?);
        let frames: u64 = self.recent.iter().map(|(_, count)| count).sum();
        (last > first).then(|| (frames - of_first) as f64 / (last - first) as f64 * 1e9)
    }

    /// `prompts`: when each began.
    pub fn finish(self, stream: &str, prompts: &BTreeMap<u32, u64>) -> Streaming {
        let interval = self.intervals.spread();
        let span_ns = self.last_ns - self.first_ns;
        let latency = |(&prompt, &first): (&u32, &u64)| {
            let begun = *prompts.get(&prompt)?;
            Some(PromptLatency {
                prompt,
                ns: first.checked_sub(begun)?,
            })
        };
        Streaming {
            stream: stream.to_owned(),
            deliveries: self.deliveries,
            frames: self.frames,
            dropped: self.dropped,
            drop_share: ratio(self.dropped as f64, (self.dropped + self.frames) as f64),
            first_frame_ns: self.first_ns,
            mean_fps: ratio((self.frames - self.of_first) as f64 * 1e9, span_ns as f64),
            current_fps: self.current_fps().unwrap_or(0.0),
            jitter_ns: interval.p99_ns.saturating_sub(interval.p50_ns),
            reproduction_jitter_ns: ratio(self.squares, interval.count as f64).sqrt(),
            interval,
            generate: self.generate.spread(),
            encode: self.encode.spread(),
            send: self.send.spread(),
            occupancy: self.occupancy.map(|(min, sum, times, max)| Occupancy {
                min,
                mean: ratio(sum as f64, times as f64),
                max,
            }),
            bytes: self.bytes,
            playback: self
                .playback_fps
                .filter(|_| self.deliveries > 0)
                .map(|fps| Playback {
                    fps,
                    // What the first delivery took to make is time as well.
                    real_time_factor: ratio(self.frames as f64 / fps * 1e9, self.last_ns as f64),
                    stall_ns: self.shown.stall_ns as u64,
                    stalls: self.shown.stalls,
                    deadline_misses: self.shown.misses,
                }),
            prompt_latency: self.first_of_prompt.iter().filter_map(latency).collect(),
            rate: self.rate,
        }
    }
}

impl Shown {
    fn deliver(&mut self, time_ns: f64, length_ns: f64) {
        let late = time_ns - self.next_ns;
        if late > 0.0 {
            self.stall_ns += late;
            self.stalls += 1;
            self.next_ns = time_ns;
        }
        self.misses += u64::from(time_ns > self.deadline_ns);
        self.next_ns += length_ns;
        self.deadline_ns += length_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stream(times: &[u64], fps: Option<f64>) -> Streaming {
        let mut stream = Stream::new(fps, 100);
        for (index, &ms) in times.iter().enumerate() {
            stream.deliver(&Delivery {
                time_ns: ms * MS,
                count: 3,
                encode_ns: MS,
                occupancy: Some(index as u32),
                prompt: Some(u32::from(index >= 2)),
                ..Delivery::default()
            });
        }
        stream.finish("video", &BTreeMap::from([(0, 0), (1, 250 * MS)]))
    }

    #[test]
    fn a_worked_example() {
        // Three frames at 100, 200, 300 and, late, at 500 ms; shown at 30 a second, each delivery lasts 100 ms.
        let found = stream(&[100, 200, 300, 500], Some(30.0));
        assert_eq!((found.frames, found.first_frame_ns), (12, 100 * MS));
        assert!((found.mean_fps - 9.0 / 0.4).abs() < 1e-9);
        assert_eq!(
            (found.interval.p50_ns, found.interval.max_ns),
            (100 * MS, 200 * MS)
        );
        let playback = found.playback.unwrap();
        assert_eq!(
            (playback.stall_ns, playback.stalls, playback.deadline_misses),
            (100 * MS, 1, 1)
        );
        assert!((playback.real_time_factor - 0.4 / 0.5).abs() < 1e-9);
        // Intervals 100, 100, 200 differ from their mean by 33, 33 and 67 ms.
        let rms = ((2.0 * 100.0_f64.powi(2) + 200.0_f64.powi(2)) / 27.0).sqrt() * 1e6;
        assert!(
            (found.reproduction_jitter_ns - rms).abs() < 1.0,
            "{}",
            found.reproduction_jitter_ns
        );
        let occupancy = found.occupancy.unwrap();
        assert_eq!((occupancy.min, occupancy.mean, occupancy.max), (0, 1.5, 3));
        assert_eq!(
            found.prompt_latency,
            [
                PromptLatency {
                    prompt: 0,
                    ns: 100 * MS
                },
                PromptLatency {
                    prompt: 1,
                    ns: 50 * MS
                }
            ]
        );
    }

    #[test]
    fn one_delivery_has_no_rate() {
        let found = stream(&[100], None);
        assert_eq!(
            (found.mean_fps, found.current_fps, found.playback),
            (0.0, 0.0, None)
        );
        assert_eq!(found.interval, Spread::default());
    }
}
