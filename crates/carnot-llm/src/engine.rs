//! Requests in, events out: one sequence at a time, in the order of submission.

use std::collections::VecDeque;
use std::sync::Arc;

use carnot_engine::{
    EngineError, Event, FinishReason, ModelInfo, RequestId, StepOutcome, TextEngine, TextRequest,
    Usage,
};
use carnot_formats::{ModelFile, Tokenizer};
use carnot_kernels::{Compute, InstructionSet, Tuning};
use carnot_probe::{Kind, SiteId, memory, site, span};

use crate::forward::{Batch, BatchSpan, Model, blocks_for};
use crate::kv_pool::{BlockTable, KvPool};
use crate::memory_need::{MemoryNeed, StepSize};
use crate::{Error, Sampler, StreamDecoder};

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Workers, the caller included.
    pub threads: usize,
    /// Most tokens of a sequence; at most the model's own limit.
    pub context: usize,
    /// Most prompt tokens in one step.
    pub prefill_chunk: usize,
    /// Kernels to use; `None` for the best.
    pub instruction_set: Option<InstructionSet>,
    /// Which of them takes how many rows.
    pub tuning: Tuning,
    /// Bytes of memory that loading may take; `None` for any number.
    pub available_bytes: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            context: 8192,
            prefill_chunk: 512,
            instruction_set: None,
            tuning: Tuning::default(),
            available_bytes: None,
        }
    }
}

/// A sequence at work.
struct Sequence {
    id: RequestId,
    request: TextRequest,
    /// Prompt, then generated tokens.
    tokens: Vec<u32>,
    /// Tokens whose keys and values are in the cache.
    cached: usize,
    blocks: BlockTable,
    sampler: Sampler,
    decoder: StreamDecoder,
}

struct EngineSites {
    step: SiteId,
    sampling: SiteId,
    detokenize: SiteId,
    cache: SiteId,
}

/// Runs a model from a file.
pub struct LlmEngine {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    info: ModelInfo,
    pool: KvPool,
    queue: VecDeque<(RequestId, TextRequest)>,
    active: Option<Sequence>,
    cancelled: Vec<RequestId>,
    next_id: u64,
    chunk: usize,
    sites: EngineSites,
}

impl LlmEngine {
    /// Loads `file`; `progress(done, total)` is called as layers come in.
    ///
    /// # Errors
    /// If the model needs more memory than the options allow, before any of it is taken; if the tokenizer or a shape is not one
    /// that runs here.
    pub fn load(
        file: Arc<ModelFile>,
        options: &EngineOptions,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let config = file.config().clone();
        let context = options.context.clamp(1, config.context_length.max(1));
        if let Some(available) = options.available_bytes {
            let size = StepSize {
                context,
                rows: options.prefill_chunk.max(1),
                logit_rows: 1,
            };
            MemoryNeed::of(&file, size).check(file.path(), available)?;
        }
        let tokenizer = Arc::new(file.tokenizer()?);
        let info = ModelInfo {
            name: file.name().to_owned(),
            architecture: format!("{:?}", config.architecture).to_lowercase(),
            parameters: file.parameters(),
            file_type: file.file_type(),
            bytes: file.bytes(),
            vocabulary: config.vocabulary,
            context_length: context,
        };
        let set = options.instruction_set.unwrap_or_else(InstructionSet::best);
        let compute =
            Compute::with_instruction_set(options.threads, set).tuned(set, options.tuning);
        let blocks = blocks_for(context);
        let model = Model::load(file, compute, blocks, progress)?;
        memory(
            site("weights", Kind::Memory),
            model.weights().packed_bytes().cast_signed(),
        );
        Ok(Self {
            model,
            tokenizer,
            info,
            pool: KvPool::new(blocks),
            queue: VecDeque::new(),
            active: None,
            cancelled: Vec::new(),
            next_id: 0,
            chunk: options.prefill_chunk.max(1),
            sites: EngineSites {
                step: site("step", Kind::Step),
                sampling: site("sampling", Kind::Engine),
                detokenize: site("detokenize", Kind::Engine),
                cache: site("kv_cache", Kind::Memory),
            },
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The loaded model.
    pub fn loaded(&self) -> &Model {
        &self.model
    }

    /// Blocks of the key/value cache that no sequence holds.
    pub fn free_blocks(&self) -> usize {
        self.pool.free_blocks()
    }

    fn check(&self, request: &TextRequest) -> Result<(), EngineError> {
        request.sampling.validate()?;
        if request.prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let vocabulary = self.info.vocabulary;
        if let Some(position) = request
            .prompt
            .iter()
            .position(|&token| token as usize >= vocabulary)
        {
            return Err(EngineError::UnknownToken {
                token: request.prompt[position],
                position,
                vocabulary,
            });
        }
        if request.prompt.len() >= self.info.context_length {
            let context = self.info.context_length;
            return Err(EngineError::ContextExceeded {
                prompt: request.prompt.len(),
                context,
            });
        }
        Ok(())
    }

    /// Ends what was cancelled and starts the next request if there is room.
    fn schedule(&mut self, events: &mut Vec<Event>) {
        for id in std::mem::take(&mut self.cancelled) {
            if let Some(at) = self.queue.iter().position(|(queued, _)| *queued == id) {
                self.queue.remove(at);
                events.push(finished(
                    id,
                    FinishReason::Cancelled,
                    String::new(),
                    Usage::default(),
                ));
            } else if self
                .active
                .as_ref()
                .is_some_and(|sequence| sequence.id == id)
            {
                let sequence = self.active.take().expect("just seen");
                self.end(sequence, FinishReason::Cancelled, events);
            }
        }
        if self.active.is_none() {
            self.active = self
                .queue
                .pop_front()
                .map(|(id, request)| Sequence::new(id, request));
        }
    }

    fn end(&mut self, mut sequence: Sequence, reason: FinishReason, events: &mut Vec<Event>) {
        let bytes = sequence.blocks.blocks().len() * carnot_kernels::kv::BLOCK_TOKENS;
        memory(
            self.sites.cache,
            -((bytes as u64 * self.model.kv_token_bytes()).cast_signed()),
        );
        self.pool.release(&mut sequence.blocks);
        let usage = sequence.usage();
        let text = if reason == FinishReason::Stop {
            String::new()
        } else {
            sequence.decoder.finish()
        };
        events.push(finished(sequence.id, reason, text, usage));
    }

    /// Runs the model on the sequence's next tokens; returns how many, and whether logits for the next token came of it.
    fn advance(&mut self, sequence: &mut Sequence) -> Result<(usize, bool), Error> {
        let last = sequence.tokens.len().min(sequence.cached + self.chunk);
        let before = sequence.blocks.blocks().len();
        self.pool.grow(&mut sequence.blocks, last)?;
        let grown = (sequence.blocks.blocks().len() - before) * carnot_kernels::kv::BLOCK_TOKENS;
        if grown > 0 {
            memory(
                self.sites.cache,
                (grown as u64 * self.model.kv_token_bytes()).cast_signed(),
            );
        }
        let tokens = &sequence.tokens[sequence.cached..last];
        let complete = last == sequence.tokens.len();
        let rows = [tokens.len() - 1];
        let spans = [BatchSpan {
            tokens,
            position: sequence.cached,
            blocks: sequence.blocks.blocks(),
        }];
        let logits: &[usize] = if complete { &rows } else { &[] };
        self.model.forward(Batch {
            spans: &spans,
            logits,
        });
        let count = tokens.len();
        sequence.cached = last;
        Ok((count, complete))
    }

    /// Samples a token, tells it, and says why the sequence ends if it does.
    fn generate(
        &mut self,
        sequence: &mut Sequence,
        events: &mut Vec<Event>,
    ) -> Option<FinishReason> {
        let sampling = span(self.sites.sampling);
        let token = {
            let (compute, logits) = self.model.compute_and_logits();
            sequence.sampler.sample(compute, logits)
        };
        sampling.end();
        let _detokenize = span(self.sites.detokenize);
        sequence.tokens.push(token);
        let ended = !sequence.request.ignore_eos && self.tokenizer.eos().contains(&token);
        let bytes = if ended {
            None
        } else {
            self.tokenizer.token_bytes(token)
        };
        let piece = sequence.decoder.push(&bytes.unwrap_or_default());
        events.push(Event::Token {
            request: sequence.id,
            token,
            text: piece.text,
        });
        let generated = sequence.usage().generated_tokens;
        if ended || piece.stopped {
            let held = if ended {
                sequence.decoder.finish()
            } else {
                String::new()
            };
            if let (false, Some(Event::Token { text, .. })) = (held.is_empty(), events.last_mut()) {
                text.push_str(&held);
            }
            Some(FinishReason::Stop)
        } else if generated >= sequence.request.max_tokens
            || sequence.tokens.len() >= self.info.context_length
        {
            Some(FinishReason::Length)
        } else {
            None
        }
    }
}

impl TextEngine for LlmEngine {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn submit(&mut self, request: TextRequest) -> Result<RequestId, EngineError> {
        self.check(&request)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.queue.push_back((id, request));
        Ok(id)
    }

    fn cancel(&mut self, request: RequestId) {
        self.cancelled.push(request);
    }

    fn step(&mut self, events: &mut Vec<Event>) -> Result<StepOutcome, EngineError> {
        self.schedule(events);
        let Some(mut sequence) = self.active.take() else {
            return Ok(StepOutcome::default());
        };
        let mut step = span(self.sites.step).request(sequence.id.0 as u32);
        let was_prefill = sequence.cached < sequence.request.prompt.len();
        let (count, complete) = match self.advance(&mut sequence) {
            Ok(advanced) => advanced,
            Err(error) => {
                self.end(sequence, FinishReason::Length, events);
                return Err(EngineError::Engine(Box::new(error)));
            }
        };
        step.set_tokens(count as u32);
        let mut outcome = StepOutcome {
            prefill_tokens: if was_prefill { count } else { 0 },
            decode_tokens: 0,
        };
        if !complete {
            self.active = Some(sequence);
            return Ok(outcome);
        }
        if was_prefill {
            events.push(Event::Prefilled {
                request: sequence.id,
                tokens: sequence.request.prompt.len(),
            });
        }
        if sequence.request.max_tokens == 0 {
            self.end(sequence, FinishReason::Length, events);
            return Ok(outcome);
        }
        outcome.decode_tokens = 1;
        match self.generate(&mut sequence, events) {
            Some(reason) => self.end(sequence, reason, events),
            None => self.active = Some(sequence),
        }
        Ok(outcome)
    }

    fn is_idle(&self) -> bool {
        self.active.is_none() && self.queue.is_empty()
    }
}

impl Sequence {
    fn new(id: RequestId, request: TextRequest) -> Self {
        Self {
            id,
            tokens: request.prompt.clone(),
            cached: 0,
            blocks: BlockTable::default(),
            sampler: Sampler::new(request.sampling, &request.prompt),
            decoder: StreamDecoder::new(request.stop.clone()),
            request,
        }
    }

    fn usage(&self) -> Usage {
        let prompt_tokens = self.request.prompt.len();
        Usage {
            prompt_tokens,
            generated_tokens: self.tokens.len() - prompt_tokens,
        }
    }
}

fn finished(request: RequestId, reason: FinishReason, text: String, usage: Usage) -> Event {
    Event::Finished {
        request,
        reason,
        text,
        usage,
    }
}
