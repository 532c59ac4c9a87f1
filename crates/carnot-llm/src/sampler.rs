//! From logits to a token.

use std::collections::HashMap;

use carnot_engine::{Sampling, TokenLogprobs};
use carnot_kernels::Compute;

use crate::grammar::{Guide, GuideFailed};

/// How the tokens of a sequence are chosen.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Penalties, temperature and filters.
    pub sampling: Sampling,
    /// Added to the logits of tokens, before anything else.
    pub bias: Vec<(u32, f32)>,
    /// Tokens that end the sequence.
    pub ends: Vec<u32>,
    /// Tokens that come before any of those may.
    pub min_tokens: usize,
    /// Whether log-probabilities are told, and those of how many of the likeliest tokens.
    pub logprobs: Option<usize>,
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// If they were asked for: from the model's own logits.
    pub logprobs: Option<TokenLogprobs>,
    /// Whether it completes what the grammar asks for, so that nothing can follow.
    pub completes: bool,
}

/// How often a token was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    generated: u32,
}

/// Chooses the tokens of one sequence. The draw of the n-th token depends on the seed and on n alone, so that a request
/// gives the same tokens whatever else the engine does.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rules: Rules,
    guide: Option<Guide>,
    seen: HashMap<u32, Seen>,
    drawn: u64,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    pub fn new(rules: Rules, prompt: &[u32]) -> Self {
        let mut seen = HashMap::new();
        if has_penalties(&rules.sampling) {
            seen.extend(prompt.iter().map(|&token| (token, Seen::default())));
        }
        Self {
            sampling: rules.sampling,
            rules,
            guide: None,
            seen,
            drawn: 0,
            candidates: Vec::new(),
        }
    }

    /// The same, within a grammar.
    pub(crate) fn guided(self, guide: Option<Guide>) -> Self {
        Self { guide, ..self }
    }

    /// Whether a token ends the sequence.
    pub fn ends(&self, token: u32) -> bool {
        self.rules.ends.contains(&token)
    }

    /// The next token; `logits` are changed by bias and penalties.
    ///
    /// # Errors
    /// If the grammar allows no token, or has used up its budget.
    pub fn sample(&mut self, compute: &Compute, logits: &mut [f32]) -> Result<Choice, GuideFailed> {
        let likely = self.rules.logprobs.map(|top| Likely::of(logits, top));
        self.restrict(logits);
        self.penalize(logits);
        if let Some(guide) = &mut self.guide {
            guide.restrict(logits)?;
        }
        let token = if self.sampling.temperature == 0.0 {
            compute.arg_max(logits) as u32
        } else {
            self.draw(logits)
        };
        if has_penalties(&self.sampling) {
            self.seen.entry(token).or_default().generated += 1;
        }
        self.drawn += 1;
        if let Some(guide) = &mut self.guide {
            guide.accept(token)?;
        }
        Ok(Choice {
            token,
            logprobs: likely.map(|likely| likely.with(token)),
            completes: self.guide.as_ref().is_some_and(Guide::is_over),
        })
    }

    /// Adds the bias, and forbids an end that would come too early.
    fn restrict(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.rules.bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if self.drawn < self.rules.min_tokens as u64 {
            for &token in &self.rules.ends {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    fn penalize(&self, logits: &mut [f32]) {
        let Sampling {
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            ..
        } = self.sampling;
        for (&token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            *logit *= if *logit > 0.0 {
                1.0 / repetition_penalty
            } else {
                repetition_penalty
            };
            if seen.generated > 0 {
                *logit -= presence_penalty + frequency_penalty * seen.generated as f32;
            }
        }
    }

    /// Keeps the tokens that top-k, top-p and min-p allow, and draws one in proportion to its probability.
    fn draw(&mut self, logits: &[f32]) -> u32 {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend(
            (0..)
                .zip(logits)
                .filter(|(_, logit)| !logit.is_nan())
                .map(|(token, &logit)| (logit, token)),
        );
        self.keep_top_k(&mut candidates);
        let total = self.weigh(&mut candidates);
        let kept = self.keep_likely(&candidates, total);
        let token = pick(&candidates[..kept], uniform(self.sampling.seed, self.drawn));
        self.candidates = candidates;
        token
    }

    fn keep_top_k(&self, candidates: &mut Vec<(f32, u32)>) {
        let k = self.sampling.top_k;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, likelier_first);
            candidates.truncate(k);
        }
        if k > 0 || self.sampling.top_p < 1.0 || self.sampling.min_p > 0.0 {
            candidates.sort_unstable_by(likelier_first);
        }
    }

    /// Turns logits into weights relative to the most likely token; returns their sum.
    fn weigh(&self, candidates: &mut [(f32, u32)]) -> f32 {
        let largest = candidates
            .iter()
            .fold(f32::NEG_INFINITY, |largest, candidate| {
                largest.max(candidate.0)
            });
        for candidate in candidates.iter_mut() {
            candidate.0 = ((candidate.0 - largest) / self.sampling.temperature).exp();
        }
        candidates.iter().map(|candidate| candidate.0).sum()
    }

    /// How many of the sorted candidates top-p and min-p keep; at least one.
    fn keep_likely(&self, candidates: &[(f32, u32)], total: f32) -> usize {
        let Sampling { top_p, min_p, .. } = self.sampling;
        let mut kept = candidates.len();
        if top_p < 1.0 {
            let mut sum = 0.0;
            let reaches = |candidate: &(f32, u32)| {
                sum += candidate.0;
                sum >= top_p * total
            };
            kept = candidates
                .iter()
                .position(reaches)
                .map_or(kept, |index| index + 1);
        }
        if min_p > 0.0 {
            kept = kept.min(candidates.partition_point(|candidate| candidate.0 >= min_p));
        }
        kept.max(1)
    }
}

/// Log-probabilities by the model's own logits, which are kept: what a request asks for changes them.
struct Likely {
    logits: Vec<f32>,
    /// The logarithm of the sum of all exponentials.
    total: f32,
    top: usize,
}

impl Likely {
    fn of(logits: &[f32], top: usize) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits
            .iter()
            .map(|logit| f64::from(logit - largest).exp())
            .sum();
        Self {
            logits: logits.to_vec(),
            total: largest + sum.ln() as f32,
            top,
        }
    }

    fn with(self, token: u32) -> TokenLogprobs {
        let mut all: Vec<(f32, u32)> = self.logits.iter().copied().zip(0..).collect();
        let top = self.top.min(all.len());
        if top > 0 && top < all.len() {
            all.select_nth_unstable_by(top - 1, likelier_first);
        }
        all.truncate(top);
        all.sort_unstable_by(likelier_first);
        let chosen = self.logits.get(token as usize);
        TokenLogprobs {
            chosen: chosen.map_or(f32::NEG_INFINITY, |logit| logit - self.total),
            top: all
                .into_iter()
                .map(|(logit, token)| (token, logit - self.total))
                .collect(),
        }
    }
}

fn has_penalties(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 1.0
        || sampling.frequency_penalty != 0.0
        || sampling.presence_penalty != 0.0
}

/// By falling weight, then by rising token, so that ties have one order.
fn likelier_first(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The candidate in whose share of the total weight `uniform` falls; token 0 of none.
fn pick(candidates: &[(f32, u32)], uniform: f32) -> u32 {
    let total: f32 = candidates.iter().map(|candidate| candidate.0).sum();
    let mut left = uniform * total;
    for &(weight, token) in candidates {
        left -= weight;
        if left < 0.0 {
            return token;
        }
    }
    candidates.last().map_or(0, |candidate| candidate.1)
}

/// A number in 0..1 from a seed and a counter (splitmix64: Steele, Lea and Flood, 2014).
fn uniform(seed: u64, counter: u64) -> f32 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(sampling: Sampling) -> Rules {
        Rules {
            sampling,
            ..Rules::default()
        }
    }

    fn frequencies(sampling: Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let compute = Compute::new(1);
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = Sampler::new(plain(sampling), &[]);
        for _ in 0..draws {
            counts[sampler
                .sample(&compute, &mut logits.to_vec())
                .unwrap()
                .token as usize] += 1.0 / draws as f64;
        }
        counts
    }

    const LOGITS: [f32; 4] = [2.0, 1.0, 0.0, -1.0];

    #[test]
    fn draws_follow_the_softmax() {
        let sampling = Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::default()
        };
        let total: f64 = LOGITS.iter().map(|&x| f64::from(x).exp()).sum();
        for (got, logit) in frequencies(sampling, &LOGITS, 20_000).iter().zip(LOGITS) {
            // Four standard errors of a share out of 20,000.
            assert!((got - f64::from(logit).exp() / total).abs() < 0.0142);
        }
    }

    #[test]
    fn zero_temperature_is_greedy_and_filters_cut() {
        assert_eq!(
            frequencies(Sampling::default(), &LOGITS, 3),
            [1.0, 0.0, 0.0, 0.0]
        );
        let warm = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let kept = |sampling| {
            frequencies(sampling, &LOGITS, 2000)
                .iter()
                .filter(|share| **share > 0.0)
                .count()
        };
        assert_eq!(kept(Sampling { top_k: 2, ..warm }), 2);
        assert_eq!(kept(Sampling { top_p: 0.5, ..warm }), 1);
        assert_eq!(kept(Sampling { top_p: 0.8, ..warm }), 2);
        assert_eq!(
            kept(Sampling {
                min_p: 0.13,
                ..warm
            }),
            3,
            "e^-2 is 0.135"
        );
        assert_eq!(
            kept(Sampling {
                min_p: 0.14,
                ..warm
            }),
            2
        );
    }

    #[test]
    fn the_seed_decides() {
        let run = |seed| {
            let compute = Compute::new(1);
            let mut sampler = Sampler::new(
                plain(Sampling {
                    temperature: 1.0,
                    seed,
                    ..Sampling::default()
                }),
                &[],
            );
            (0..50)
                .map(|_| sampler.sample(&compute, &mut [0.0; 100]).unwrap().token)
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn penalties_apply_to_what_was_seen() {
        let compute = Compute::new(1);
        let repetition = Sampling {
            repetition_penalty: 4.0,
            ..Sampling::default()
        };
        assert_eq!(
            Sampler::new(plain(repetition), &[0])
                .sample(&compute, &mut LOGITS.to_vec())
                .unwrap()
                .token,
            1
        );
        let presence = Sampling {
            presence_penalty: 1.5,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(plain(presence), &[0]);
        let tokens: Vec<u32> = (0..3)
            .map(|_| {
                sampler
                    .sample(&compute, &mut LOGITS.to_vec())
                    .unwrap()
                    .token
            })
            .collect();
        assert_eq!(
            tokens,
            [0, 1, 0],
            "prompt tokens do not count, generated ones do, once"
        );
        let frequency = Sampling {
            frequency_penalty: 0.6,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(plain(frequency), &[]);
        let tokens: Vec<u32> = (0..4)
            .map(|_| {
                sampler
                    .sample(&compute, &mut LOGITS.to_vec())
                    .unwrap()
                    .token
            })
            .collect();
        assert_eq!(tokens, [0, 0, 1, 0], "each time counts");
    }

    #[test]
    fn bias_moves_and_an_end_waits_for_its_time() {
        let compute = Compute::new(1);
        let run = |rules| {
            let mut sampler = Sampler::new(rules, &[]);
            let next = |_| {
                sampler
                    .sample(&compute, &mut LOGITS.to_vec())
                    .unwrap()
                    .token
            };
            (0..3).map(next).collect::<Vec<u32>>()
        };
        let biased = Rules {
            bias: vec![(3, 9.0), (99, 1.0), (0, f32::NEG_INFINITY)],
            ..Rules::default()
        };
        assert_eq!(run(biased), [3, 3, 3]);
        let patient = Rules {
            ends: vec![0, 1],
            min_tokens: 2,
            ..Rules::default()
        };
        assert_eq!(run(patient), [2, 2, 0]);
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let compute = Compute::new(1);
        let rules = Rules {
            bias: vec![(3, 9.0)],
            logprobs: Some(2),
            ..Rules::default()
        };
        let choice = Sampler::new(rules, &[])
            .sample(&compute, &mut LOGITS.to_vec())
            .unwrap();
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        let logprobs = choice.logprobs.unwrap();
        assert_eq!(choice.token, 3);
        assert!((logprobs.chosen - (LOGITS[3] - total.ln())).abs() < 1e-6);
        let top: Vec<u32> = logprobs.top.iter().map(|(token, _)| *token).collect();
        assert_eq!(top, [0, 1]);
        assert!((logprobs.top[1].1 - (LOGITS[1] - total.ln())).abs() < 1e-6);
    }
}
