//! A whole run in bounded memory: when there is no room for another point, neighbours are merged and each point stands for twice as long.

use std::time::Duration;

/// Values over time, at most so many points of them; each point stands for as many values as the others, but for the last, which may
/// stand for fewer.
///
/// ```
/// # use std::time::Duration;
/// let mut series = carnot_samplers::Series::new(2);
/// for second in 0..4 {
///     series.push(Duration::from_secs(second), second as f64);
/// }
/// let means: Vec<f64> = series.points().iter().map(|point| point.mean).collect();
/// assert_eq!((means, series.values_per_point()), (vec![0.5, 2.5], 2));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    points: Vec<Point>,
    most: usize,
    values_per_point: u64,
}

/// Values that follow one another, of whatever unit was pushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When the first of them was read, from any fixed moment.
    pub first: Duration,
    /// When the last of them was read.
    pub last: Duration,
    /// How many they are.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
}

impl Series {
    /// Keeps at most `points`, of which it takes two at least, since there is nothing to merge in fewer.
    pub fn new(points: usize) -> Self {
        Self {
            points: Vec::new(),
            most: points.max(2),
            values_per_point: 1,
        }
    }

    /// Adds a value that was read at `at`, not before the last. What is no finite number is left out, as what is unknown is. The cost is
    /// constant, but for one in many that goes through all points.
    pub fn push(&mut self, at: Duration, value: f64) {
        if !value.is_finite() {
            return;
        }
        let point = Point::of(at, value);
        if self.points.len() == self.most && self.room().is_none() {
            self.halve();
        }
        match self.room() {
            Some(last) => *last = last.with(&point),
            None => self.points.push(point),
        }
    }

    /// The last point, while it stands for fewer values than the others; an odd number of points leaves one when they are merged.
    fn room(&mut self) -> Option<&mut Point> {
        let full = self.values_per_point;
        self.points.last_mut().filter(|last| last.count < full)
    }

    fn halve(&mut self) {
        let merged = self.points.chunks(2).map(|pair| match pair {
            [one, other] => one.with(other),
            rest => rest[0],
        });
        self.points = merged.collect();
        self.values_per_point *= 2;
    }

    /// In the order of time.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// How many values a point stands for: a power of two.
    pub fn values_per_point(&self) -> u64 {
        self.values_per_point
    }

    /// All values as one point: their number, mean, least and greatest; `None` where there are none.
    pub fn summary(&self) -> Option<Point> {
        self.points
            .iter()
            .copied()
            .reduce(|all, next| all.with(&next))
    }
}

impl Point {
    fn of(at: Duration, value: f64) -> Self {
        Self {
            first: at,
            last: at,
            count: 1,
            mean: value,
            min: value,
            max: value,
        }
    }

    /// This and what follows it. The mean moves by a share of the difference, so that sums of many values cannot overflow.
    fn with(&self, next: &Self) -> Self {
        let count = self.count + next.count;
        let share = next.count as f64 / count as f64;
        Self {
            first: self.first,
            last: next.last,
            count,
            mean: self.mean * (1.0 - share) + next.mean * share,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(most: usize, values: &[f64]) -> Series {
        let mut series = Series::new(most);
        for (index, value) in values.iter().enumerate() {
            series.push(Duration::from_millis(index as u64), *value);
        }
        series
    }

    proptest! {
        #[test]
        fn nothing_is_lost_but_resolution(most in 0_usize..20, values in prop::collection::vec(-1e6_f64..1e6, 0..500)) {
            let series = series(most, &values);
            let points = series.points();
            prop_assert!(points.len() <= most.max(2));
            let counts: u64 = points.iter().map(|point| point.count).sum();
            prop_assert_eq!(counts, values.len() as u64);
            // Each point is what it says of the values that it stands for.
            let mut left = values.as_slice();
            for (index, point) in points.iter().enumerate() {
                let is_last = index + 1 == points.len();
                prop_assert!(point.count == series.values_per_point() || is_last);
                let (own, rest) = left.split_at(point.count as usize);
                let begin = (values.len() - left.len()) as u64;
                prop_assert_eq!(point.first, Duration::from_millis(begin));
                prop_assert_eq!(point.last, Duration::from_millis(begin + point.count - 1));
                prop_assert_eq!(point.min, own.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(point.max, own.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                prop_assert!((point.mean - mean).abs() < 1e-6, "{} for {mean}", point.mean);
                left = rest;
            }
            if let Some(all) = series.summary() {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                prop_assert!((all.mean - mean).abs() < 1e-6, "{} for {mean}", all.mean);
                prop_assert_eq!(all.count, values.len() as u64);
            }
        }
    }

    #[test]
    fn the_resolution_is_halved_when_there_is_no_room() {
        let values: Vec<f64> = (0..9).map(f64::from).collect();
        let means = |most, count: usize| -> Vec<f64> {
            let series = series(most, &values[..count]);
            series.points().iter().map(|point| point.mean).collect()
        };
        assert_eq!(means(4, 4), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(means(4, 5), [0.5, 2.5, 4.0]);
        assert_eq!(means(4, 9), [1.5, 5.5, 8.0]);
        assert_eq!(means(3, 4), [0.5, 2.5], "half a point is filled first");
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let series = series(4, &[1.0, f64::NAN, f64::INFINITY, 3.0]);
        assert_eq!(series.summary().unwrap().mean, 2.0);
        assert_eq!(series.summary().unwrap().count, 2);
        assert_eq!(Series::new(4).summary(), None);
    }
}
