//! A histogram: how many values are below each bound, what of it came between two scrapes, and where a quantile lies.

use super::Family;

/// How many values are at most a bound: by rising bounds, the last of which is infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    counts: Vec<(f64, f64)>,
}

/// Where so many of the values lie below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// About here: as if values lay evenly between the bounds of a bucket.
    At(f64),
    /// Above the largest bound that is finite; nobody knows how far.
    Above(f64),
}

impl Quantile {
    /// The value, where it is known.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::At(value) => Some(value),
            Self::Above(_) => None,
        }
    }
}

impl Buckets {
    /// Of a family, over all its labels but the bounds; nothing where it has no buckets.
    pub fn of(family: &Family) -> Option<Self> {
        let mut counts: Vec<(f64, f64)> = Vec::new();
        for sample in &family.samples {
            let bound = sample.label("le").and_then(|bound| match bound {
                "+Inf" => Some(f64::INFINITY),
                bound => bound.parse().ok(),
            });
            let Some(bound) = bound.filter(|_| sample.name.ends_with("_bucket")) else {
                continue;
            };
            match counts.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => counts.push((bound, sample.value)),
            }
        }
        counts.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        (!counts.is_empty()).then_some(Self { counts })
    }

    /// How many values there are.
    pub fn count(&self) -> f64 {
        self.counts.last().map_or(0.0, |(_, count)| *count)
    }

    /// What came after `earlier`. All of it where that has more: the server was started anew between them.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let found = earlier.counts.iter().find(|(of, _)| *of == bound);
            found.map_or(0.0, |(_, count)| *count)
        };
        let is_new = earlier.count() > self.count();
        let counts = self.counts.iter().map(|&(bound, count)| {
            let gone = if is_new { 0.0 } else { before(bound) };
            (bound, count - gone)
        });
        Self {
            counts: counts.collect(),
        }
    }

    /// Below which `share` of the values lie, from 0 to 1; nothing where there are none. As Prometheus computes `histogram_quantile`.
    pub fn quantile(&self, share: f64) -> Option<Quantile> {
        let all = self.count();
        if all <= 0.0 {
            return None;
        }
        let rank = share * all;
        let index = self.counts.iter().position(|(_, count)| *count >= rank)?;
        let (below, under) = match index.checked_sub(1) {
            Some(before) => self.counts[before],
            None => (0.0, 0.0),
        };
        let (bound, count) = self.counts[index];
        if bound.is_infinite() {
            return Some(Quantile::Above(below));
        }
        let inside = (rank - under) / (count - under).max(f64::MIN_POSITIVE);
        Some(Quantile::At(below + (bound - below) * inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    fn buckets(counts: [u64; 4]) -> Buckets {
        let bounds = ["0.1", "0.2", "0.4", "+Inf"];
        let lines = bounds.iter().zip(counts);
        let text: String = lines
            .map(|(bound, count)| format!("a_bucket{{le=\"{bound}\"}} {count}\n"))
            .collect();
        let text = format!("# TYPE a histogram\n{text}");
        Exposition::parse(&text).unwrap().buckets("a").unwrap()
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let all = buckets([0, 10, 20, 20]);
        assert_eq!(all.quantile(0.5), Some(Quantile::At(0.2)));
        let Some(Quantile::At(at)) = all.quantile(0.75) else {
            panic!("{:?}", all.quantile(0.75));
        };
        assert!((at - 0.3).abs() < 1e-9, "{at}");
        assert_eq!(
            buckets([4, 4, 4, 4]).quantile(0.5),
            Some(Quantile::At(0.05))
        );
    }

    #[test]
    fn beyond_the_last_bound_nobody_knows() {
        let all = buckets([0, 0, 5, 10]);
        assert_eq!(all.quantile(0.5), Some(Quantile::At(0.4)));
        assert_eq!(all.quantile(0.99), Some(Quantile::Above(0.4)));
        assert_eq!(all.quantile(0.99).unwrap().value(), None);
        assert_eq!(buckets([0; 4]).quantile(0.5), None);
    }

    #[test]
    fn a_difference_forgets_what_was_before() {
        let before = buckets([100, 100, 100, 100]);
        let after = buckets([100, 100, 110, 110]);
        let since = after.since(&before);
        assert_eq!(since.count(), 10.0);
        let Some(Quantile::At(at)) = since.quantile(0.5) else {
            panic!("{since:?}");
        };
        assert!((at - 0.3).abs() < 1e-9, "{at}: not near 0.05");
        assert_eq!(after.since(&after).quantile(0.5), None);
        let restarted = buckets([1, 1, 1, 1]);
        assert_eq!(restarted.since(&after), restarted);
    }

    #[test]
    fn labels_are_summed() {
        let text = "# TYPE a histogram\na_bucket{m=\"x\",le=\"1\"} 1\na_bucket{m=\"x\",le=\"+Inf\"} 2\na_bucket{m=\"y\",le=\"1\"} 3\na_bucket{m=\"y\",le=\"+Inf\"} 4\n";
        let read = Exposition::parse(text).unwrap();
        let all = read.buckets("a").unwrap();
        assert_eq!(all.counts, [(1.0, 4.0), (f64::INFINITY, 6.0)]);
        assert_eq!(read.buckets("b"), None);
    }
}
