//! Where a series of numbers changes its level.
//!
//! A place divides a series well where values of one side are further from those of the other than from their own: the energy divergence
//! (Matteson and James, 2014). The best place of a window is divided at if Student's t says that the sides differ, and then each side is looked at again; of
//! the places found, the weakest goes until all are certain by the values between their neighbours. A test instead of permutations
//! gives the same answer every time, and its price is small (Fleming, Kołaczkowski and others, 2023).

use crate::distributions::student_beyond;

/// What counts as a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Values that are looked at together; windows overlap by half.
    pub window: usize,
    /// Most that the probability of a change where there is none may be, of one division and all places where it could have been.
    pub p: f64,
    /// Least relative change of the mean that counts.
    pub magnitude: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 50,
            p: 0.001,
            magnitude: 0.0,
        }
    }
}

/// A change of the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// The first value of the new level.
    pub index: usize,
    /// The mean since the change before.
    pub before: f64,
    /// The mean up to the next one.
    pub after: f64,
    /// How probable it is where there is none.
    pub p: f64,
}

/// On each side of a change there are so many values: of one alone nobody knows whether it is a spike.
const LEAST: usize = 3;
/// A place is looked at again among all others if its p value is up to so many times what is asked.
const WEAK: f64 = 10.0;

/// The changes of `series`, in order. The same series gives the same changes. Costs the length times the window.
pub fn change_points(series: &[f64], settings: Settings) -> Vec<ChangePoint> {
    let window = settings.window.max(2 * LEAST).min(series.len());
    let mut places = Vec::new();
    let mut begin = 0;
    while begin + 2 * LEAST <= series.len() {
        let end = (begin + window).min(series.len());
        divide(&series[begin..end], begin, WEAK * settings.p, &mut places);
        if end == series.len() {
            break;
        }
        begin += window / 2;
    }
    places.sort_unstable();
    places.dedup();
    loop {
        let found = judged(series, &places);
        let is_change = |point: &ChangePoint| {
            point.p <= settings.p
                && (point.after - point.before).abs() >= settings.magnitude * point.before.abs()
        };
        let Some((weakest, _)) = found
            .iter()
            .enumerate()
            .filter(|(_, point)| !is_change(point))
            .max_by(|(_, one), (_, other)| one.p.total_cmp(&other.p))
        else {
            return found;
        };
        places.remove(weakest);
    }
}

/// Adds the places where `values`, which begin at `offset`, are to be divided.
fn divide(values: &[f64], offset: usize, most: f64, places: &mut Vec<usize>) {
    let Some(place) = best(values) else { return };
    let (left, right) = values.split_at(place);
    if probability(left, right) <= most {
        divide(left, offset, most, places);
        places.push(offset + place);
        divide(right, offset + place, most, places);
    }
}

/// The place of the largest divergence.
fn best(values: &[f64]) -> Option<usize> {
    let count = values.len();
    let distances = |from: f64, others: &[f64]| -> f64 {
        others.iter().map(|other| (from - other).abs()).sum()
    };
    // The sums of the distances within the sides and between them change by those of the one value that crosses over.
    let (mut left, mut between) = (0.0, 0.0);
    let mut right: f64 = (0..count)
        .map(|index| distances(values[index], &values[index + 1..]))
        .sum();
    let mut largest: Option<(f64, usize)> = None;
    for place in 1..count {
        let crossed = values[place - 1];
        let (to_left, to_right) = (
            distances(crossed, &values[..place - 1]),
            distances(crossed, &values[place..]),
        );
        left += to_left;
        right -= to_right;
        between += to_right - to_left;
        let (m, n) = (place as f64, (count - place) as f64);
        if place < LEAST || count - place < LEAST {
            continue;
        }
        let within = left / (m * (m - 1.0) / 2.0) + right / (n * (n - 1.0) / 2.0);
        let divergence = m * n / (m + n) * (2.0 * between / (m * n) - within);
        if largest.is_none_or(|(most, _)| divergence > most) {
            largest = Some((divergence, place));
        }
    }
    largest.map(|(_, place)| place)
}

/// The changes at `places`, each by the values between its neighbours.
fn judged(series: &[f64], places: &[usize]) -> Vec<ChangePoint> {
    let at = |index: usize| places.get(index).copied();
    let point = |(index, &place): (usize, &usize)| {
        let begin = index.checked_sub(1).and_then(at).unwrap_or(0);
        let end = at(index + 1).unwrap_or(series.len());
        let (left, right) = (&series[begin..place], &series[place..end]);
        ChangePoint {
            index: place,
            before: mean(left),
            after: mean(right),
            p: probability(left, right),
        }
    };
    places.iter().enumerate().map(point).collect()
}

/// The probability of so different means where there is one level, at the best of all places (Student's t, and Bonferroni's bound).
fn probability(left: &[f64], right: &[f64]) -> f64 {
    let (m, n) = (left.len() as f64, right.len() as f64);
    let degrees = m + n - 2.0;
    if degrees < 1.0 {
        return 1.0;
    }
    let (of_left, of_right) = (mean(left), mean(right));
    let squares = |values: &[f64], mean: f64| -> f64 {
        values.iter().map(|value| (value - mean).powi(2)).sum()
    };
    let variance = (squares(left, of_left) + squares(right, of_right)) / degrees;
    let error = (variance * (1.0 / m + 1.0 / n)).sqrt();
    let away = (of_right - of_left).abs();
    if away == 0.0 {
        return 1.0;
    }
    // Values that never vary, and then others: t is infinite, and p is 0.
    let t = if error > 0.0 {
        away / error
    } else {
        return 0.0;
    };
    let places = (m + n - 2.0 * LEAST as f64 + 1.0).max(1.0);
    (student_beyond(t, degrees) * places).min(1.0)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// A series of levels, each with its length, with 2 % of noise and, where asked, one value in ten a third larger.
    fn series(dice: &mut Dice, levels: &[(usize, f64)], has_spikes: bool) -> Vec<f64> {
        let mut value = |level: f64| {
            let spike = if has_spikes && dice.uniform() < 0.1 {
                1.33
            } else {
                1.0
            };
            level * (1.0 + 0.02 * dice.normal()) * spike
        };
        let lengths = levels.iter();
        lengths
            .flat_map(|&(length, level)| (0..length).map(|_| value(level)).collect::<Vec<_>>())
            .collect()
    }

    fn found(series: &[f64]) -> Vec<usize> {
        let points = change_points(series, Settings::default());
        points.iter().map(|point| point.index).collect()
    }

    #[test]
    fn noise_does_not_change() {
        let mut dice = Dice(1);
        for has_spikes in [false, true] {
            for length in [7, 20, 50, 120] {
                let trials = 1000;
                let alarms = (0..trials)
                    .filter(|_| {
                        !found(&series(&mut dice, &[(length, 50.0)], has_spikes)).is_empty()
                    })
                    .count();
                // One in a hundred, and three deviations of such a count.
                assert!(
                    alarms <= 10 + 9,
                    "{alarms} of {trials}, length {length}, spikes {has_spikes}"
                );
            }
        }
    }

    #[test]
    fn planted_changes_are_found_where_they_are() {
        let mut dice = Dice(2);
        let (mut exact, mut near) = (0, 0);
        for _ in 0..200 {
            // One in each of two windows, and one at their seam.
            let values = series(
                &mut dice,
                &[(20, 10.0), (30, 11.0), (25, 9.0), (25, 10.0)],
                false,
            );
            let found = found(&values);
            exact += usize::from(found == [20, 50, 75]);
            near += usize::from(
                found.len() == 3
                    && found
                        .iter()
                        .zip([20, 50, 75])
                        .all(|(one, other)| one.abs_diff(other) <= 1),
            );
        }
        assert!(exact >= 190 && near >= 198, "{exact}, {near} of 200");
    }

    #[test]
    fn a_change_says_its_levels() {
        let values = [[5.0; 10], [6.0; 10]].concat();
        let expected = ChangePoint {
            index: 10,
            before: 5.0,
            after: 6.0,
            p: 0.0,
        };
        assert_eq!(change_points(&values, Settings::default()), [expected]);
        let large = Settings {
            magnitude: 0.25,
            ..Settings::default()
        };
        assert_eq!(change_points(&values, large), []);
    }

    #[test]
    fn one_value_alone_is_no_change() {
        let mut values = vec![5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 9.0];
        assert_eq!(found(&values), [0; 0]);
        values.extend([9.1, 8.9, 9.0]);
        assert_eq!(found(&values), [9]);
        for short in 0..6 {
            assert_eq!(found(&values[..short]), [0; 0]);
        }
    }
}
