//! A curve of bounded size over any number of samples: when it is full, neighbours are joined, their extremes kept.

use serde::Serialize;

/// A value over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The points, in order of time.
    pub points: Vec<CurvePoint>,
    #[serde(skip)]
    most: usize,
    /// Samples that are joined into one point.
    #[serde(skip)]
    joined: u64,
    #[serde(skip)]
    pending: u64,
}

/// What a value was over some samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CurvePoint {
    /// When the first was taken.
    pub time_ns: u64,
    /// The least of them.
    pub min: f64,
    /// The last of them.
    pub last: f64,
    /// The greatest of them.
    pub max: f64,
}

impl Curve {
    /// Nothing yet; never more than `most` points, and at least two.
    pub(super) fn new(most: usize) -> Self {
        Self {
            points: Vec::new(),
            most: most.max(2),
            joined: 1,
            pending: 0,
        }
    }

    pub(super) fn add(&mut self, time_ns: u64, value: f64) {
        if self.pending == 0 {
            if self.points.len() >= self.most {
                self.halve();
            }
            let point = CurvePoint {
                time_ns,
                min: value,
                last: value,
                max: value,
            };
            self.points.push(point);
        } else if let Some(point) = self.points.last_mut() {
            (point.min, point.last, point.max) =
                (point.min.min(value), value, point.max.max(value));
        }
        self.pending = (self.pending + 1) % self.joined;
    }

    fn halve(&mut self) {
        let join = |pair: &[CurvePoint]| {
            let (first, last) = (pair[0], pair[pair.len() - 1]);
            CurvePoint {
                time_ns: first.time_ns,
                min: first.min.min(last.min),
                last: last.last,
                max: first.max.max(last.max),
            }
        };
        self.points = self.points.chunks(2).map(join).collect();
        self.joined *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_the_extremes() {
        let mut curve = Curve::new(10);
        let values = (0..1000).map(|i| if i == 637 { 99.0 } else { f64::from(i % 7) });
        values
            .enumerate()
            .for_each(|(i, value)| curve.add(i as u64, value));
        assert!(
            curve.points.len() <= 10 && curve.points.len() >= 5,
            "{}",
            curve.points.len()
        );
        let most = curve
            .points
            .iter()
            .map(|point| point.max)
            .fold(0.0, f64::max);
        assert_eq!(
            (most, curve.points[0].min, curve.points.last().unwrap().last),
            (99.0, 0.0, f64::from(999 % 7))
        );
        assert!(curve.points.is_sorted_by_key(|point| point.time_ns));
    }

    #[test]
    fn few_samples_are_points_of_their_own() {
        let mut curve = Curve::new(4);
        (0..4).for_each(|i| curve.add(i, 1.0));
        assert_eq!(curve.points.len(), 4);
    }
}
