//! Whether a server was asked for more than it can do: waiting grew from beginning to end.
//!
//! Two lines are laid through a run by least squares: the time to the first text, of tensors to the end, over when a request was due, and how many requests were under way when it
//! was due. Where both rise, certainly (one-sided t test at 95 %), and the rise over the run is as long as the typical wait, the rate cannot be held: the longer
//! one measures the worse it gets, and no latency of the run means anything.

use super::Raw;

/// What is said of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// By how many seconds the time to the first text rose in a second, and how far that is from nothing in standard errors.
    pub first_rise: f64,
    /// Of it.
    pub first_t: f64,
    /// By how many the requests under way rose in a second.
    pub concurrency_rise: f64,
    /// Of it.
    pub concurrency_t: f64,
    /// Whether the rate cannot be held.
    pub is_saturated: bool,
}

/// Fewer requests say nothing.
const LEAST: usize = 20;
/// One-sided, 95 %, for more than twenty values.
const CERTAIN: f64 = 1.725;

/// Looks at a run in which requests came by themselves; `None` where they are too few. Of conversations only the first turns did.
pub fn saturation(requests: &[Raw]) -> Option<Saturation> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let requests: Vec<&Raw> = requests
        .iter()
        .filter(|request| request.turn == 1)
        .collect();
    let answered: Vec<&Raw> = requests
        .iter()
        .copied()
        .filter(|request| request.failure.is_none() && begin(request).is_some())
        .collect();
    if answered.len() < LEAST {
        return None;
    }
    let first: Vec<(f64, f64)> = answered
        .iter()
        .filter_map(|request| {
            let wait = begin(request)?.saturating_sub(request.due_ns);
            Some((seconds(request.due_ns), seconds(wait)))
        })
        .collect();
    let mut ends: Vec<u64> = requests.iter().map(|request| request.ended_ns).collect();
    ends.sort_unstable();
    let mut dues: Vec<u64> = requests.iter().map(|request| request.due_ns).collect();
    dues.sort_unstable();
    let concurrency: Vec<(f64, f64)> = (1..)
        .zip(&dues)
        .map(|(due, &at)| {
            let ended = ends.partition_point(|&end| end <= at);
            (seconds(at), (due - ended) as f64)
        })
        .collect();
    let (first_rise, first_t) = slope(&first);
    let (concurrency_rise, concurrency_t) = slope(&concurrency);
    let mut waits: Vec<f64> = first.iter().map(|(_, wait)| *wait).collect();
    waits.sort_by(f64::total_cmp);
    let typical = waits[waits.len() / 4];
    let span = seconds(dues[dues.len() - 1] - dues[0]);
    Some(Saturation {
        first_rise,
        first_t,
        concurrency_rise,
        concurrency_t,
        is_saturated: first_t > CERTAIN && concurrency_t > CERTAIN && first_rise * span > typical,
    })
}

/// When something came of its answer; all of it comes at once where it asked for tensors.
fn begin(request: &Raw) -> Option<u64> {
    let first = request.pieces_ns.first().copied();
    first.or((request.rows > 0).then_some(request.ended_ns))
}

/// The slope of a line through the points by least squares, and its t value.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if across <= 0.0 {
        return (0.0, 0.0);
    }
    let together: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let slope = together / across;
    let left: f64 = points
        .iter()
        .map(|point| (point.1 - y - slope * (point.0 - x)).powi(2))
        .sum();
    let error = (left / (count - 2.0) / across).sqrt();
    (
        slope,
        if error > 0.0 {
            slope / error
        } else {
            f64::INFINITY * slope.signum()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// A server that does one request after another, each in a time of its own around `service` seconds, asked at `rate` by chance.
    fn queue(rate: f64, service: f64, seed: u64) -> Vec<Raw> {
        let mut dice = Dice(seed);
        let (mut due, mut free) = (0.0_f64, 0.0_f64);
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let mut one = || {
            due -= dice.uniform().ln() / rate;
            free = free.max(due) + service * (0.5 + dice.uniform());
            Raw {
                due_ns: ns(due),
                sent_ns: ns(due),
                pieces_ns: vec![ns(free)],
                ended_ns: ns(free),
                tokens: 1,
                ..Raw::default()
            }
        };
        (0..400).map(|_| one()).collect()
    }

    #[test]
    fn too_much_is_told_from_enough() {
        let verdicts = |rate: f64| {
            let is = |seed| saturation(&queue(rate, 0.1, seed)).unwrap().is_saturated;
            (0..50).filter(|&seed| is(seed)).count()
        };
        let (half, over) = (verdicts(5.0), verdicts(13.0));
        assert!(half <= 2, "{half} of 50 at half of what it can do");
        assert_eq!(over, 50, "a third more than it can do");
    }

    #[test]
    fn few_say_nothing() {
        assert_eq!(saturation(&queue(5.0, 0.1, 0)[..10]), None);
    }
}
