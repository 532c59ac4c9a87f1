//! What is known of a session while it runs, and the line that tells it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use carnot_probe::{Kind, RawEvent, Recording};
use serde::Serialize;

/// Frames a second are counted over so much time, however many events that is.
const WINDOW: Duration = Duration::from_secs(2);

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The session.
    pub session: String,
    /// Since it began.
    pub seconds: f64,
    /// Events that were written.
    pub events: u64,
    /// Events that were lost for want of memory.
    pub lost: u64,
    /// Stages by name: how often, and for how many seconds in all.
    pub stages: BTreeMap<String, (u64, f64)>,
    /// The last value of each counter, those of the machine among them.
    pub counters: BTreeMap<String, f64>,
    /// Frames that were delivered.
    pub frames: u64,
    /// Frames that were given up.
    pub dropped_frames: u64,
    /// Frames a second over the last two seconds; `None` until there are two deliveries.
    pub current_fps: Option<f64>,
    /// What went wrong, the pipeline being none the worse.
    pub warnings: Vec<String>,
    #[serde(skip)]
    recent: VecDeque<(f64, u64)>,
}

impl Status {
    /// Nothing yet.
    pub(crate) fn of(session: &str) -> Self {
        Self {
            session: session.to_owned(),
            ..Self::default()
        }
    }

    /// Takes in what was recorded between two looks.
    pub(crate) fn take(&mut self, recording: &Recording, seconds: f64) {
        self.seconds = seconds;
        self.lost += recording.dropped;
        for event in recording.raw() {
            self.events += 1;
            let site = &recording.sites[event.site as usize];
            let at = recording.scale.ns(event.start) as f64 / 1e9;
            match site.kind {
                Kind::Stage => {
                    let length = recording.scale.ns(event.end) as f64 / 1e9 - at;
                    // Names are few, and known after the first time.
                    if let Some((count, total)) = self.stages.get_mut(&site.name) {
                        (*count, *total) = (*count + 1, *total + length);
                    } else {
                        self.stages.insert(site.name.clone(), (1, length));
                    }
                }
                Kind::Counter => {
                    let value = f64::from_bits(event.bytes);
                    if let Some(last) = self.counters.get_mut(&site.name) {
                        *last = value;
                    } else {
                        self.counters.insert(site.name.clone(), value);
                    }
                }
                Kind::Frame => self.take_frame(&event, at),
                _ => {}
            }
        }
        self.current_fps = rate(&mut self.recent);
    }

    fn take_frame(&mut self, event: &RawEvent, at: f64) {
        match event.sequence_and_request >> 32 {
            0 => self.dropped_frames += u64::from(event.tokens),
            count => {
                self.frames += count;
                self.recent.push_back((at, count));
            }
        }
    }

    /// One line: how long, what was made, the longest stages, the machine.
    pub fn line(&self) -> String {
        let mut line = format!("carnot: {} · {:.0} s", self.session, self.seconds);
        if self.frames > 0 {
            let _ = write!(line, " · {} frames", self.frames);
        }
        if let Some(fps) = self.current_fps {
            let _ = write!(line, " at {fps:.1}/s");
        }
        if self.dropped_frames > 0 {
            let _ = write!(line, ", {} dropped", self.dropped_frames);
        }
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        for (name, (count, seconds)) in stages.iter().take(3) {
            let _ = write!(
                line,
                " · {name} {count} × {:.1} ms",
                seconds * 1e3 / *count as f64
            );
        }
        for (counter, label, scale, unit) in SHOWN {
            if let Some(value) = self.counters.get(counter) {
                let _ = write!(line, " · {label} {:.1}{unit}", value / scale);
            }
        }
        if self.lost > 0 {
            let _ = write!(line, " · {} events lost", self.lost);
        }
        line
    }
}

/// Counters of the line: name, label, divisor, unit.
const SHOWN: [(&str, &str, f64, &str); 6] = [
    ("process/cpu_cores", "CPU", 1.0, " cores"),
    ("process/resident_bytes", "memory", 1e9, " GB"),
    ("host/memory_used_percent", "host", 1.0, " %"),
    ("gpu0/utilization_percent", "GPU", 1.0, " %"),
    ("gpu0/memory_used_bytes", "GPU memory", 1e9, " GB"),
    ("gpu0/temperature_celsius", "", 1.0, " °C"),
];

/// Frames a second of what lies within the window before the last delivery.
fn rate(recent: &mut VecDeque<(f64, u64)>) -> Option<f64> {
    let &(last, _) = recent.back()?;
    while recent.len() > 2 && last - recent[0].0 > WINDOW.as_secs_f64() {
        recent.pop_front();
    }
    let &(first, of_first) = recent.front()?;
    let frames: u64 = recent.iter().map(|(_, count)| count).sum();
    // The first delivery begins the time that is looked at; its own frames were made before.
    (last > first).then(|| (frames - of_first) as f64 / (last - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_time_not_of_events() {
        let mut recent: VecDeque<(f64, u64)> = (0..50).map(|at| (f64::from(at) * 0.1, 3)).collect();
        assert!((rate(&mut recent).unwrap() - 30.0).abs() < 1e-9);
        assert!(
            recent.len() < 25,
            "what lies before the window is forgotten"
        );
        assert_eq!(rate(&mut VecDeque::from([(1.0, 9)])), None);
    }

    #[test]
    fn the_line_tells_what_there_is() {
        let mut status = Status {
            session: "run".to_owned(),
            seconds: 12.4,
            ..Status::default()
        };
        assert_eq!(status.line(), "carnot: run · 12 s");
        status.stages.insert("vae".to_owned(), (4, 0.1));
        status
            .counters
            .insert("process/resident_bytes".to_owned(), 1.25e9);
        (status.frames, status.dropped_frames, status.current_fps) = (12, 1, Some(7.96));
        assert_eq!(
            status.line(),
            "carnot: run · 12 s · 12 frames at 8.0/s, 1 dropped · vae 4 × 25.0 ms · memory 1.2 GB"
        );
    }
}
