//! Energy from readings of power: the trapezoid between each two that follow one another.

use std::time::Duration;

/// Joules so far.
///
/// ```
/// # use std::time::Duration;
/// let mut energy = carnot_samplers::Energy::default();
/// energy.add(Duration::from_secs(0), Some(100.0));
/// assert_eq!(energy.add(Duration::from_secs(2), Some(200.0)), Some(300.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    before: Option<(Duration, f64)>,
    joules: f64,
    measured: Duration,
}

impl Energy {
    /// Adds what was used since the reading before, if both are known: `watts` is the power at `time`, which counts from any fixed moment.
    /// Returns the joules so far, as [`joules`](Self::joules) does.
    ///
    /// A reading of `None`, or of no finite number, ends the stretch before it: nothing is assumed of the time until the next reading
    /// that is known. So does a time that is before the last.
    pub fn add(&mut self, time: Duration, watts: Option<f64>) -> Option<f64> {
        let now = watts
            .filter(|watts| watts.is_finite())
            .map(|watts| (time, watts));
        if let (Some((earlier, before)), Some((_, watts))) = (self.before, now)
            && let Some(passed) = time.checked_sub(earlier)
        {
            self.joules += passed.as_secs_f64() * f64::midpoint(before, watts);
            self.measured += passed;
        }
        self.before = now;
        self.joules()
    }

    /// Joules of the time that is [`measured`](Self::measured); `None` where that is none.
    pub fn joules(&self) -> Option<f64> {
        (!self.measured.is_zero()).then_some(self.joules)
    }

    /// The time that the joules are of: all between readings that follow one another and are known.
    pub fn measured(&self) -> Duration {
        self.measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds and watts → joules and the milliseconds that they are of.
    #[track_caller]
    fn check(readings: &[(u64, Option<f64>)], joules: Option<f64>, measured: u64) {
        let mut energy = Energy::default();
        for (at, watts) in readings {
            energy.add(Duration::from_millis(*at), *watts);
        }
        assert_eq!(energy.joules(), joules);
        assert_eq!(energy.measured(), Duration::from_millis(measured));
    }

    #[test]
    fn intervals_may_be_unequal() {
        let readings = [(0, Some(100.0)), (500, Some(300.0)), (2500, Some(300.0))];
        check(&readings, Some(0.5 * 200.0 + 2.0 * 300.0), 2500);
    }

    #[test]
    fn a_constant_power_is_its_product_with_time_wherever_it_is_read() {
        let readings: Vec<_> = (0..=20).map(|step| (step * step, Some(250.0))).collect();
        check(&readings, Some(0.4 * 250.0), 400);
    }

    #[test]
    fn nothing_is_assumed_across_a_gap() {
        let gap = [
            (1000, Some(100.0)),
            (2000, Some(100.0)),
            (3000, None),
            (9000, Some(50.0)),
            (10_000, Some(50.0)),
        ];
        check(&gap, Some(150.0), 2000);
        let unreadable = [(0, Some(1.0)), (1000, Some(f64::NAN)), (2000, Some(1.0))];
        check(&unreadable, None, 0);
    }

    #[test]
    fn one_reading_is_no_energy_and_not_0() {
        check(&[], None, 0);
        check(&[(5, Some(100.0))], None, 0);
        check(&[(5, None), (6, None)], None, 0);
        check(&[(5, Some(0.0)), (1005, Some(0.0))], Some(0.0), 1000);
    }

    #[test]
    fn time_that_goes_back_begins_anew() {
        let back = [(5000, Some(10.0)), (1000, Some(20.0)), (2000, Some(20.0))];
        check(&back, Some(20.0), 1000);
    }
}
