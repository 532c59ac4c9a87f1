//! Drawing from a large vocabulary without sorting it, and with no more than a few passes over it.
//!
//! A filter becomes a logit below which no token can pass. Chunks whose largest logit lies below it are skipped, and what is left is
//! little enough to be sorted. Nothing is approximated: what passes is then held to the filters themselves.
//!
//! ```text
//! top-k    at least k chunks have a logit as large as the k-th largest of the chunks' largest, so that the k-th token has too
//! top-p    tokens that weigh less than (1 − p) / n of all n together weigh less than 1 − p, so that the others reach p
//! min-p    the largest logit + temperature · ln min-p
//! ```

use carnot_engine::Sampling;
use carnot_kernels::Compute;

/// Logits that are looked at together.
const CHUNK: usize = 64;
/// More than the least that [`Compute::exp_scaled`] gives, which stands for nothing.
const NOTHING: f32 = 2e-38;
/// What rounding may take from a bound.
const SLACK: f32 = 0.999;

/// Buffers for drawing; what they hold is of no meaning between two draws.
#[derive(Debug, Default)]
pub(super) struct Draw {
    /// The largest logit of each chunk.
    largest: Vec<f32>,
    /// Relative to the likeliest token.
    weights: Vec<f32>,
    /// Of each chunk's weights.
    sums: Vec<f32>,
    candidates: Vec<(f32, u32)>,
}

impl Draw {
    /// A token in proportion to its probability at the temperature (above 0), of those that top-k, top-p and min-p keep. `uniform` is in 0..1 and
    /// decides. The likeliest token if the logits are no numbers to draw from.
    pub fn token(
        &mut self,
        compute: &Compute,
        sampling: &Sampling,
        logits: &[f32],
        uniform: f32,
    ) -> u32 {
        let largest = self.survey(compute, logits);
        if !largest.is_finite() {
            return compute.arg_max(logits) as u32;
        }
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = *sampling;
        let factor = temperature.recip().min(f32::MAX);
        let mut of_all = None;
        if top_k > 0 && top_k < logits.len() {
            self.gather_top(logits, top_k);
        } else if top_p < 1.0 || min_p > 0.0 {
            let mut least = min_p;
            if top_p < 1.0 {
                let total = self.weigh(compute, logits, largest, factor);
                least = least.max((1.0 - top_p) * total as f32 / logits.len() as f32);
                of_all = Some(total);
            }
            self.gather(logits, largest + (least * SLACK).ln() * temperature);
            self.candidates.sort_unstable_by(likelier_first);
        } else {
            let total = self.weigh(compute, logits, largest, factor);
            let drawn = self.find(f64::from(uniform) * total);
            return drawn.unwrap_or_else(|| compute.arg_max(logits)) as u32;
        }
        let mut of_candidates = 0.0;
        for candidate in &mut self.candidates {
            candidate.0 = ((candidate.0 - largest) * factor).exp();
            of_candidates += f64::from(candidate.0);
        }
        let total = of_all.unwrap_or(of_candidates);
        pick(kept(&self.candidates, top_p, min_p, total), uniform)
    }

    /// The logarithm of the sum of the exponentials.
    pub fn log_sum(&mut self, compute: &Compute, logits: &[f32]) -> f32 {
        let largest = compute.largest(logits);
        largest + self.weigh(compute, logits, largest, 1.0).ln() as f32
    }

    /// The `count` largest logits with their tokens, in order.
    pub fn top(&mut self, compute: &Compute, logits: &[f32], count: usize) -> &[(f32, u32)] {
        self.survey(compute, logits);
        self.gather_top(logits, count);
        &self.candidates
    }

    /// Looks at all chunks; returns the largest logit.
    fn survey(&mut self, compute: &Compute, logits: &[f32]) -> f32 {
        self.largest.clear();
        let chunks = logits.chunks(CHUNK);
        self.largest
            .extend(chunks.map(|chunk| compute.largest(chunk)));
        compute.largest(&self.largest)
    }

    /// Weights relative to `largest`, and their sums; returns the sum of all.
    fn weigh(&mut self, compute: &Compute, logits: &[f32], largest: f32, factor: f32) -> f64 {
        self.weights.resize(logits.len(), 0.0);
        self.sums.clear();
        let chunks = logits.chunks(CHUNK).zip(self.weights.chunks_mut(CHUNK));
        let sums = chunks.map(|(x, out)| compute.exp_scaled(x, largest, factor, out));
        self.sums.extend(sums);
        self.sums.iter().map(|sum| f64::from(*sum)).sum()
    }

    /// The token in whose share of the weights `target` falls, if rounding has not put it behind the last.
    fn find(&self, mut target: f64) -> Option<usize> {
        for (chunk, sum) in self.sums.iter().enumerate() {
            if target >= f64::from(*sum) {
                target -= f64::from(*sum);
                continue;
            }
            for token in chunk * CHUNK..self.weights.len() {
                target -= f64::from(self.weights[token]);
                if target < 0.0 && self.weights[token] > NOTHING {
                    return Some(token);
                }
            }
        }
        None
    }

    /// Takes the tokens whose logit is at least `lowest`, after [`survey`](Self::survey).
    fn gather(&mut self, logits: &[f32], lowest: f32) {
        self.candidates.clear();
        for ((chunk, tokens), largest) in (0..).zip(logits.chunks(CHUNK)).zip(&self.largest) {
            if *largest < lowest {
                continue;
            }
            for (token, &logit) in (chunk * CHUNK as u32..).zip(tokens) {
                if logit >= lowest {
                    self.candidates.push((logit, token));
                }
            }
        }
    }

    /// Takes the `count` tokens of the largest logits in order, after [`survey`](Self::survey).
    fn gather_top(&mut self, logits: &[f32], count: usize) {
        self.candidates.clear();
        if count == 0 {
            return;
        }
        self.weights.clone_from(&self.largest);
        let lowest = if count <= self.weights.len() {
            *self
                .weights
                .select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a))
                .1
        } else {
            f32::NEG_INFINITY
        };
        self.gather(logits, lowest);
        if count < self.candidates.len() {
            self.candidates
                .select_nth_unstable_by(count - 1, likelier_first);
        }
        self.candidates.truncate(count);
        self.candidates.sort_unstable_by(likelier_first);
    }
}

/// By falling weight, then by rising token, so that ties have one order.
fn likelier_first(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Those of the sorted candidates that top-p, of `total`, and min-p keep; at least one.
fn kept(candidates: &[(f32, u32)], top_p: f32, min_p: f32, total: f64) -> &[(f32, u32)] {
    let mut kept = candidates.len();
    if top_p < 1.0 {
        let mut sum = 0.0;
        let reaches = |candidate: &(f32, u32)| {
            sum += f64::from(candidate.0);
            sum >= f64::from(top_p) * total
        };
        let last = candidates.iter().position(reaches);
        kept = last.map_or(kept, |index| index + 1);
    }
    kept = kept.min(candidates.partition_point(|candidate| candidate.0 >= min_p));
    &candidates[..kept.max(1).min(candidates.len())]
}

/// The candidate in whose share of their weight `uniform` falls; the first if rounding has put that behind the last, token 0 of none.
fn pick(candidates: &[(f32, u32)], uniform: f32) -> u32 {
    let total: f64 = candidates
        .iter()
        .map(|candidate| f64::from(candidate.0))
        .sum();
    let mut left = f64::from(uniform) * total;
    let reached = |candidate: &&(f32, u32)| {
        left -= f64::from(candidate.0);
        left < 0.0
    };
    let drawn = candidates.iter().find(reached);
    drawn
        .or(candidates.first())
        .map_or(0, |candidate| candidate.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: sort everything, cut, and go along the weights. Returns the tokens that are kept with their shares of what is kept.
    fn shares(sampling: &Sampling, logits: &[f32]) -> Vec<(f64, u32)> {
        let mut all: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        all.sort_by(likelier_first);
        if sampling.top_k > 0 {
            all.truncate(sampling.top_k);
        }
        let weight =
            |logit: f32| (f64::from(logit - all[0].0) / f64::from(sampling.temperature)).exp();
        let mut kept: Vec<(f64, u32)> = all
            .iter()
            .map(|&(logit, token)| (weight(logit), token))
            .collect();
        let total: f64 = kept.iter().map(|share| share.0).sum();
        let mut before = 0.0;
        kept.retain(|share| {
            let is_kept = before < f64::from(sampling.top_p) * total || sampling.top_p >= 1.0;
            before += share.0;
            is_kept && share.0 >= f64::from(sampling.min_p)
        });
        let total: f64 = kept.iter().map(|share| share.0).sum();
        kept.iter()
            .map(|&(weight, token)| (weight / total, token))
            .collect()
    }

    /// How often each token is drawn when `uniform` goes evenly through 0..1.
    fn drawn(sampling: &Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let compute = Compute::new(1);
        let (mut draw, mut counts) = (Draw::default(), vec![0.0; logits.len()]);
        for index in 0..draws {
            let uniform = index as f32 / draws as f32;
            counts[draw.token(&compute, sampling, logits, uniform) as usize] += 1.0 / draws as f64;
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn every_token_has_its_share(
            logits in prop::collection::vec(prop_oneof![9 => -8.0_f32..8.0, 1 => Just(f32::NEG_INFINITY)], 1..400),
            temperature in 0.2_f32..2.0,
            top_k in prop_oneof![Just(0_usize), 1..60_usize],
            top_p in prop_oneof![Just(1.0_f32), 0.05_f32..0.99],
            min_p in prop_oneof![Just(0.0_f32), 0.001_f32..0.5],
        ) {
            prop_assume!(logits.iter().any(|logit| logit.is_finite()));
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            let draws = 2000;
            let mut counts = drawn(&sampling, &logits, draws);
            let expected = shares(&sampling, &logits);
            for &(share, token) in &expected {
                // An interval holds as many points of an even grid as its length says, and one more or less; rounding may move the cut of a filter by one token.
                let at_cut = expected.last() == Some(&(share, token));
                let got = std::mem::take(&mut counts[token as usize]);
                prop_assert!((got - share).abs() < 2.5 / draws as f64 || at_cut, "token {token}: {got} for {share}");
            }
            prop_assert!(counts.iter().sum::<f64>() < 2.5 / draws as f64, "tokens that were cut: {counts:?}");
        }
    }

    #[test]
    fn what_is_forbidden_is_never_drawn() {
        let mut logits = vec![f32::NEG_INFINITY; 1000];
        logits[500] = -3.0;
        for uniform in [0.0, 0.5, 1.0 - f32::EPSILON / 2.0] {
            let compute = Compute::new(1);
            let sampling = Sampling {
                temperature: 1.0,
                ..Sampling::default()
            };
            for sampling in [
                sampling,
                Sampling {
                    top_k: 40,
                    ..sampling
                },
                Sampling {
                    top_p: 0.9,
                    ..sampling
                },
            ] {
                assert_eq!(
                    Draw::default().token(&compute, &sampling, &logits, uniform),
                    500
                );
            }
        }
    }

    #[test]
    fn logits_that_are_no_numbers_still_give_a_token() {
        let compute = Compute::new(1);
        let sampling = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        for (logits, expected) in [
            (vec![f32::NEG_INFINITY; 3], 0),
            (vec![0.0, f32::INFINITY], 1),
            (vec![f32::NAN, 1.0, f32::NAN], 1),
            (vec![f32::NAN; 2], 0),
        ] {
            assert_eq!(
                Draw::default().token(&compute, &sampling, &logits, 0.5),
                expected,
                "{logits:?}"
            );
        }
    }
}
