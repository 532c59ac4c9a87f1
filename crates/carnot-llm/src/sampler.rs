//! From logits to a token.

use std::collections::HashMap;

use carnot_engine::{Sampling, TokenLogprobs};
use carnot_kernels::Compute;

use crate::grammar::{Guide, GuideFailed};

use self::draw::Draw;

mod draw;

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
    /// Whether it ends the sequence.
    pub ends: bool,
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
    draw: Draw,
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
            draw: Draw::default(),
        }
    }

    /// The same, within a grammar.
    pub(crate) fn guided(self, guide: Option<Guide>) -> Self {
        Self { guide, ..self }
    }

    /// The next token; `logits` are changed by bias and penalties.
    ///
    /// # Errors
    /// If the grammar allows no token, or has used up its budget.
    pub fn sample(&mut self, compute: &Compute, logits: &mut [f32]) -> Result<Choice, GuideFailed> {
        let (rules, draw) = (&self.rules, &mut self.draw);
        let likely = rules.logprobs;
        let likely = likely.map(|top| Likely::of(compute, draw, logits, top));
        self.restrict(logits);
        self.penalize(logits);
        if let Some(guide) = &mut self.guide {
            guide.restrict(logits)?;
        }
        let token = if self.sampling.temperature == 0.0 {
            compute.arg_max(logits) as u32
        } else {
            let uniform = uniform(self.sampling.seed, self.drawn);
            self.draw.token(compute, &self.sampling, logits, uniform)
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
            ends: self.rules.ends.contains(&token),
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
}

/// Log-probabilities by the model's own logits, which are kept: what a request asks for changes them.
struct Likely {
    chosen_from: Vec<f32>,
    /// The logarithm of the sum of all exponentials.
    total: f32,
    top: Vec<(f32, u32)>,
}

impl Likely {
    fn of(compute: &Compute, draw: &mut Draw, logits: &[f32], top: usize) -> Self {
        Self {
            chosen_from: logits.to_vec(),
            total: draw.log_sum(compute, logits),
            top: draw.top(compute, logits, top).to_vec(),
        }
    }

    fn with(self, token: u32) -> TokenLogprobs {
        let chosen = self.chosen_from.get(token as usize);
        let relative = |(logit, token): (f32, u32)| (token, logit - self.total);
        TokenLogprobs {
            chosen: chosen.map_or(f32::NEG_INFINITY, |logit| logit - self.total),
            top: self.top.into_iter().map(relative).collect(),
        }
    }
}

fn has_penalties(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 1.0
        || sampling.frequency_penalty != 0.0
        || sampling.presence_penalty != 0.0
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
