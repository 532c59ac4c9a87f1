//! The tokens of a step: drawn for all its sequences at once, each by one of the pool's workers.
//!
//! A draw goes over the whole vocabulary, and in a grammar through its trie. For sixteen sequences on one thread that would be a
//! good part of a small model's step, in which the other workers wait. They are not done beside the forward pass, as on machines
//! where another processor computes that: here it has all cores already.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use carnot_engine::RequestId;
use carnot_kernels::Compute;

use crate::faults;
use crate::forward::Model;
use crate::sampler::Choice;
use crate::scheduler::Chunk;

use super::Live;

/// What was drawn after a chunk.
#[derive(Debug)]
pub(super) struct Drawn {
    pub choices: Vec<Choice>,
    pub stop: Stop,
}

/// Why no more was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// That is what was wanted.
    Wanted,
    /// The request wants no token at all.
    NothingWanted,
    /// The grammar has used up its budget, or allows no token.
    OutOfGrammar,
    /// The sampler or the grammar panicked.
    Panicked,
}

struct Task<'a> {
    live: &'a Live,
    draft: &'a [u32],
    /// A row of the vocabulary for each place.
    logits: &'a mut [f32],
    drawn: Drawn,
}

impl Task<'_> {
    fn run(&mut self, compute: &Compute, vocabulary: usize) -> Stop {
        if self.live.request.max_tokens == 0 {
            return Stop::NothingWanted;
        }
        let sampler = self.live.sampler.lock();
        let mut sampler = sampler.unwrap_or_else(PoisonError::into_inner);
        for (place, logits) in self.logits.chunks_exact_mut(vocabulary).enumerate() {
            faults::at("drawing");
            let Ok(choice) = sampler.sample(compute, logits) else {
                return Stop::OutOfGrammar;
            };
            let is_right = self.draft.get(place) == Some(&choice.token);
            let is_last = choice.ends || choice.completes || !is_right;
            self.drawn.choices.push(choice);
            if is_last {
                break;
            }
        }
        Stop::Wanted
    }
}

/// Draws the tokens after each of `chunks` that wants them, from the logits of the last forward pass: one, and another after each token of its draft
/// that was drawn too.
pub(super) fn draw(
    model: &mut Model,
    live: &HashMap<RequestId, Live>,
    chunks: &[Chunk],
) -> Vec<Drawn> {
    let vocabulary = model.config().vocabulary;
    let (compute, mut logits) = model.compute_and_logits();
    let mut tasks = Vec::new();
    for chunk in chunks.iter().filter(|chunk| chunk.samples) {
        let live = &live[&chunk.id];
        if live.pool.is_some() {
            continue;
        }
        let (own, others) =
            std::mem::take(&mut logits).split_at_mut((1 + chunk.draft.len()) * vocabulary);
        logits = others;
        tasks.push(Mutex::new(Task {
            live,
            draft: &chunk.draft,
            logits: own,
            drawn: Drawn {
                choices: Vec::new(),
                stop: Stop::Wanted,
            },
        }));
    }
    let one = |index: usize| {
        let mut task = tasks[index].lock().unwrap_or_else(PoisonError::into_inner);
        // What a request brought, such as its grammar, is its own: a panic there is nobody else's end.
        let stop = catch_unwind(AssertUnwindSafe(|| task.run(compute, vocabulary)));
        task.drawn.stop = stop.unwrap_or(Stop::Panicked);
    };
    if let [_] = tasks.as_slice() {
        one(0);
    } else {
        compute.pool().each(tasks.len(), one);
    }
    let finished = |task: Mutex<Task<'_>>| {
        task.into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .drawn
    };
    tasks.into_iter().map(finished).collect()
}
