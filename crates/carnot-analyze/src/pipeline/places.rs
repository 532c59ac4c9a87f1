//! Who allocates: memory by places in the code, from a sample of allocations or from what an interpreter tells of all of them.
//!
//! One of a sample stands for `1 / (1 − e^(−size / mean))` like it, as many as there are for each that is seen; the sums are estimates that are right in the mean.

use std::collections::HashMap;

use carnot_record::trace_file::EventSite;
use serde::Serialize;

/// Memory by place.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Places {
    /// Bytes between two points of the sample, in the mean; 0 where all of it was told, or nothing.
    pub mean_bytes: u64,
    /// Allocations that were told of.
    pub samples: u64,
    /// Bytes that were taken, of all places.
    pub allocated_bytes: f64,
    /// The most that was live at once.
    pub peak_bytes: f64,
    /// When.
    pub peak_time_ns: u64,
    /// The one that holds most at the peak first; then by what was taken.
    pub places: Vec<Place>,
}

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// The function.
    pub function: String,
    /// File and line, or empty.
    pub place: String,
    /// How often memory was taken.
    pub allocations: f64,
    /// Bytes taken.
    pub allocated_bytes: f64,
    /// Bytes held at the end.
    pub live_bytes: f64,
    /// Bytes held at the moment when all places held most.
    pub at_peak_bytes: f64,
}

/// The sample as its events go by.
#[derive(Debug, Default)]
pub(super) struct Sample {
    places: Vec<Place>,
    /// The place of each site.
    of_site: HashMap<u32, usize>,
    live_bytes: f64,
    /// Whether what is live is the most that ever was: then `at_peak_bytes` is not written down yet.
    is_at_peak: bool,
    told: Places,
}

impl Sample {
    /// Bytes taken (positive) or given back at a place, `count` allocations together; `mean_bytes` is the sample's, 0 where it is none.
    pub fn take(
        &mut self,
        site: &EventSite,
        number: u32,
        time_ns: u64,
        bytes: i64,
        count: u32,
        mean_bytes: u64,
    ) {
        let next = self.places.len();
        let at = *self.of_site.entry(number).or_insert(next);
        if at == next {
            self.places.push(place_of(site));
        }
        let size = bytes.unsigned_abs();
        let weight = weight(size, mean_bytes);
        let stands_for = size as f64 * weight;
        if bytes < 0 {
            self.leave_peak();
            let place = &mut self.places[at];
            // What was taken before the session began can be given back in it.
            let given = stands_for.min(place.live_bytes);
            place.live_bytes -= given;
            self.live_bytes -= given;
            return;
        }
        self.told.samples += 1;
        self.told.mean_bytes = self.told.mean_bytes.max(mean_bytes);
        self.told.allocated_bytes += stands_for;
        let place = &mut self.places[at];
        place.allocations += f64::from(count) * weight;
        place.allocated_bytes += stands_for;
        place.live_bytes += stands_for;
        self.live_bytes += stands_for;
        if self.live_bytes > self.told.peak_bytes {
            (self.told.peak_bytes, self.told.peak_time_ns) = (self.live_bytes, time_ns);
            self.is_at_peak = true;
        }
    }

    /// The way down from a peak begins: what it was made of is still there.
    fn leave_peak(&mut self) {
        if std::mem::take(&mut self.is_at_peak) {
            for place in &mut self.places {
                place.at_peak_bytes = place.live_bytes;
            }
        }
    }

    pub fn finish(mut self) -> Places {
        self.leave_peak();
        self.places.sort_by(|a, b| {
            let held = b.at_peak_bytes.total_cmp(&a.at_peak_bytes);
            let taken = b.allocated_bytes.total_cmp(&a.allocated_bytes);
            held.then(taken)
                .then_with(|| (&a.function, &a.place).cmp(&(&b.function, &b.place)))
        });
        Places {
            places: self.places,
            ..self.told
        }
    }
}

fn place_of(site: &EventSite) -> Place {
    let place = match site.line {
        0 => site.file.clone(),
        line => format!("{}:{line}", site.file),
    };
    Place {
        function: site.name.clone(),
        place,
        ..Place::default()
    }
}

/// Bytes that an allocation of a sample stands for, those of a release negative; `mean_bytes` 0 is no sample.
pub fn stands_for(bytes: i64, mean_bytes: u64) -> f64 {
    bytes as f64 * weight(bytes.unsigned_abs(), mean_bytes)
}

/// How many one of the sample stands for.
fn weight(size: u64, mean_bytes: u64) -> f64 {
    if size == 0 || mean_bytes == 0 {
        return 1.0;
    }
    -1.0 / (-(size as f64) / mean_bytes as f64).exp_m1()
}

#[cfg(test)]
mod tests {
    use carnot_record::trace_file::EventKind;

    use super::*;

    fn site(name: &str, line: u32) -> EventSite {
        EventSite {
            name: name.to_owned(),
            kind: EventKind::Allocation,
            file: "bank/src/lib.rs".to_owned(),
            line,
        }
    }

    #[test]
    fn a_worked_example() {
        let (keep, make) = (site("keep", 12), site("make", 30));
        let mut sample = Sample::default();
        // The mean is so small that each is seen: weights are 1.
        sample.take(&keep, 4, 10, 1000, 1, 1);
        sample.take(&make, 7, 20, 5000, 1, 1);
        sample.take(&make, 7, 30, -5000, 1, 1);
        sample.take(&keep, 4, 40, 2000, 1, 1);
        sample.take(&keep, 4, 50, -1000, 1, 1);
        let found = sample.finish();
        assert_eq!((found.samples, found.mean_bytes), (3, 1));
        assert_eq!((found.peak_bytes, found.peak_time_ns), (6000.0, 20));
        assert_eq!(found.allocated_bytes, 8000.0);
        let place = |at: usize| {
            let place = &found.places[at];
            (
                place.place.as_str(),
                place.at_peak_bytes,
                place.live_bytes,
                place.allocations,
            )
        };
        assert_eq!(place(0), ("bank/src/lib.rs:30", 5000.0, 0.0, 1.0));
        assert_eq!(place(1), ("bank/src/lib.rs:12", 1000.0, 2000.0, 2.0));
    }

    #[test]
    fn one_of_a_sample_stands_for_those_that_were_not_seen() {
        let mut sample = Sample::default();
        sample.take(&site("small", 1), 0, 1, 16, 1, 1 << 20);
        let found = sample.finish();
        // 16 bytes are seen once in 65,536.5 times.
        assert!((found.places[0].allocations - 65_536.5).abs() < 0.01);
        assert!((found.places[0].at_peak_bytes - 1_048_584.0).abs() < 1.0);
    }

    #[test]
    fn what_an_interpreter_tells_is_as_it_is_told() {
        let mut sample = Sample::default();
        sample.take(&site("python", 3), 0, 1, 300, 10, 0);
        sample.take(&site("python", 3), 0, 2, -100, 2, 0);
        let found = sample.finish();
        let place = &found.places[0];
        assert_eq!(
            (place.allocations, place.live_bytes, found.mean_bytes),
            (10.0, 200.0, 0)
        );
        // More than was ever taken is not given back.
        let mut sample = Sample::default();
        sample.take(&site("python", 3), 0, 2, -100, 2, 0);
        assert_eq!(sample.finish().places[0].live_bytes, 0.0);
    }
}
