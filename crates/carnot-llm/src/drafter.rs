//! Speculative decoding with a second, smaller model of the same vocabulary (Leviathan et al., 2023; greedy guesses).
//!
//! The drafter has keys and values of its own in blocks of the same numbers as the model's, so that tables, shared prefixes and copies are
//! those of the scheduler. It goes through prompts beside the model; where the scheduler leaves places for guesses, it fills them, one token after
//! another, for all sequences together. Like any guess they change no text: the model draws each token as if there were none.

use std::collections::HashMap;
use std::sync::Arc;

use carnot_engine::RequestId;
use carnot_formats::{ModelFile, Tokenizer};
use carnot_kernels::Compute;

use crate::Error;
use crate::forward::{Batch, BatchSpan, KvRoom, Model};
use crate::scheduler::{BlockCopy, Chunk, Scheduler};

/// The smaller model, and how far it is with each sequence.
pub(crate) struct Drafter {
    model: Model,
    /// Tokens whose keys and values it has, as far as they were right.
    known: HashMap<RequestId, usize>,
}

impl Drafter {
    /// Loads `file` with `room` for keys and values; `tokenizer` is the model's, which its own has to equal.
    pub fn load(
        file: Arc<ModelFile>,
        tokenizer: &Tokenizer,
        compute: Compute,
        room: KvRoom,
    ) -> Result<Self, Error> {
        check_vocabulary(&file, tokenizer)?;
        Ok(Self {
            model: Model::load(file, compute, room, |_, _| ())?,
            known: HashMap::new(),
        })
    }

    /// What happens to the model's blocks happens to its own.
    pub fn copy(&mut self, copy: &BlockCopy) {
        self.model.copy_block(copy.from.number(), copy.to);
    }

    /// A sequence is no more.
    pub fn forget(&mut self, id: RequestId) {
        self.known.remove(&id);
    }

    /// Follows a step's prompts, and fills the places for guesses.
    pub fn follow(&mut self, scheduler: &Scheduler, chunks: &mut [Chunk]) {
        let (mut spans, mut wanted, mut rows) = (Vec::new(), Vec::new(), 0);
        for chunk in chunks.iter() {
            let Some(first) = self.next(chunk) else {
                continue;
            };
            let tokens = &scheduler.tokens(chunk.id)[first..chunk.positions.end];
            rows += tokens.len();
            if !chunk.draft.is_empty() {
                wanted.push(rows - 1);
            }
            spans.push(BatchSpan {
                tokens,
                position: first,
                blocks: scheduler.blocks(chunk.id),
            });
            // The last guess is never computed: nothing is drawn after it.
            let ahead = chunk.draft.len().saturating_sub(1);
            self.known.insert(chunk.id, chunk.positions.end + ahead);
        }
        if spans.is_empty() {
            return;
        }
        self.model.forward(Batch {
            spans: &spans,
            logits: &wanted,
        });
        let drafted = chunks.iter_mut().filter(|chunk| !chunk.draft.is_empty());
        self.fill(scheduler, drafted.collect());
    }

    /// The first token of a chunk's sequence that has to be computed, if any has.
    fn next(&mut self, chunk: &Chunk) -> Option<usize> {
        if chunk.is_prefill {
            return Some(chunk.positions.start);
        }
        let known = self.known.entry(chunk.id).or_default();
        // Guesses after this were wrong.
        *known = (*known).min(chunk.positions.start);
        (!chunk.draft.is_empty()).then_some(*known)
    }

    /// The logits are those after the last token of each of `drafted`.
    fn fill(&mut self, scheduler: &Scheduler, mut drafted: Vec<&mut Chunk>) {
        for at in 0.. {
            let vocabulary = self.model.config().vocabulary;
            let (_, logits) = self.model.compute_and_logits();
            for (chunk, logits) in drafted.iter_mut().zip(logits.chunks_exact(vocabulary)) {
                chunk.draft[at] = likeliest(logits);
            }
            drafted.retain(|chunk| chunk.draft.len() > at + 1);
            if drafted.is_empty() {
                return;
            }
            let spans: Vec<BatchSpan<'_>> = drafted
                .iter()
                .map(|chunk| BatchSpan {
                    tokens: &chunk.draft[at..=at],
                    position: chunk.positions.end + at,
                    blocks: scheduler.blocks(chunk.id),
                })
                .collect();
            let wanted: Vec<usize> = (0..spans.len()).collect();
            self.model.forward(Batch {
                spans: &spans,
                logits: &wanted,
            });
        }
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let at = logits.iter().position(|&logit| logit == highest);
    at.unwrap_or(0) as u32
}

fn check_vocabulary(file: &ModelFile, tokenizer: &Tokenizer) -> Result<(), Error> {
    let own = file.tokenizer()?;
    let differ = |id: &u32| own.token(*id) != tokenizer.token(*id);
    let size = tokenizer.vocabulary_size().max(own.vocabulary_size()) as u32;
    match (0..size).find(differ) {
        None => Ok(()),
        Some(id) => Err(Error::DraftVocabulary {
            draft: file.name().to_owned(),
            id,
            expected: tokenizer.token(id).unwrap_or_default(),
            got: own.token(id).unwrap_or_default(),
        }),
    }
}
