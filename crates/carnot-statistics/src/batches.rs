//! Values that do not depend on each other, of a series whose neighbours may: executions that follow each other share a slow moment of the machine, and a hundred of them
//! in one such moment say it once.
//!
//! Neighbours are put together into batches, twice as many each time, until the medians of the batches look like a series in random order (Fishman, "Grouping
//! observations in digital simulation", 1978). Whether they do is asked of their ranks (Bartels, "The rank version of von Neumann's ratio test for randomness", 1982).

use crate::quantiles::median;

/// Of fewer values nobody can tell whether they depend on each other.
const LEAST: usize = 16;
/// Ratios that far below that of a random order, in deviations, come by chance once in twenty times.
const SUSPICIOUS: f64 = -1.645;

/// The medians of batches of neighbours that are large enough not to depend on each other; the values themselves where these do not. One median where the values, or the
/// batches that would be needed, are fewer than 16. Costs what sorting costs.
pub fn batch_medians(series: &[f64]) -> Vec<f64> {
    let mut size = 1;
    while series.len() / size >= LEAST {
        // What is left over at the end is part of no batch: its median would vary more than the others.
        let batches = series.chunks_exact(size).filter_map(median);
        let medians: Vec<f64> = batches.collect();
        if dependence(&medians) > SUSPICIOUS {
            return medians;
        }
        size *= 2;
    }
    median(series).into_iter().collect()
}

/// How far the ratio of neighbours' squared differences to the variance is from that of a random order, in deviations; below 0 where neighbours are alike.
fn dependence(series: &[f64]) -> f64 {
    let ranks = ranks(series);
    let count = ranks.len() as f64;
    let middle = f64::midpoint(count, 1.0);
    let variance: f64 = ranks.iter().map(|rank| (rank - middle).powi(2)).sum();
    if variance == 0.0 {
        return 0.0;
    }
    let steps: f64 = ranks
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).powi(2))
        .sum();
    (steps / variance - 2.0) / (20.0 / (5.0 * count + 7.0)).sqrt()
}

/// The place of each value among all, from 1; those that are alike share the mean of their places.
fn ranks(series: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_by(|&one, &other| series[one].total_cmp(&series[other]));
    let mut ranks = vec![0.0; series.len()];
    let mut smaller = 0;
    for alike in order.chunk_by(|&one, &other| series[one] == series[other]) {
        let rank = smaller as f64 + f64::midpoint(alike.len() as f64, 1.0);
        for &index in alike {
            ranks[index] = rank;
        }
        smaller += alike.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::mann_whitney::mann_whitney;

    /// Normal values of which each has this much of the one before.
    fn series(dice: &mut Dice, count: usize, carried: f64) -> Vec<f64> {
        let mut last = dice.normal();
        let mut next = || {
            last = carried * last + (1.0 - carried * carried).sqrt() * dice.normal();
            last
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn values_in_random_order_stay_what_they_are() {
        let mut dice = Dice(1);
        let kept = (0..400).filter(|_| {
            let values = series(&mut dice, 100, 0.0);
            batch_medians(&values) == values
        });
        let kept = kept.count();
        assert!((360..400).contains(&kept), "{kept} of 400, expected 380");
    }

    #[test]
    fn neighbours_that_are_alike_are_no_difference() {
        let mut dice = Dice(2);
        let (trials, mut naive, mut batched) = (400, 0, 0);
        for _ in 0..trials {
            let (first, second) = (series(&mut dice, 400, 0.9), series(&mut dice, 400, 0.9));
            let is_called = |first: &[f64], second: &[f64]| {
                usize::from(mann_whitney(first, second).is_some_and(|test| test.p <= 0.01))
            };
            naive += is_called(&first, &second);
            batched += is_called(&batch_medians(&first), &batch_medians(&second));
        }
        assert!(naive > trials / 5, "{naive} of {trials} without batches");
        assert!(batched <= trials / 25, "{batched} of {trials} with batches");
    }

    #[test]
    fn few_values_and_levels_are_one_value() {
        assert_eq!(batch_medians(&[]), [0.0; 0]);
        assert_eq!(batch_medians(&[1.0, 2.0, 9.0]), [2.0]);
        let step: Vec<f64> = (0..64).map(|index| f64::from(index / 32)).collect();
        assert_eq!(batch_medians(&step), [0.5]);
        assert_eq!(batch_medians(&[3.0; 40]), [3.0; 40]);
    }

    #[test]
    fn the_ratio_is_that_of_a_worked_example() {
        // Ranks 1 to 16 in order: 15 steps of 1 over a variance of 340.
        let rising: Vec<f64> = (0..16).map(f64::from).collect();
        let expected = (15.0 / 340.0 - 2.0) / (20.0_f64 / 87.0).sqrt();
        assert!((dependence(&rising) - expected).abs() < 1e-12);
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [2.5, 1.0, 2.5]);
    }
}
