//! Requests in, events out: what the scheduler plans, the model computes, and the samplers choose from.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carnot_engine::{
    Census, EngineError, Event, FinishReason, ModelInfo, Pooling, RequestId, StepOutcome,
    TextCodec, TextEngine, TextRequest, Usage,
};
use carnot_formats::{ModelConfig, ModelFile, Tokenizer};
use carnot_kernels::kv::BLOCK_TOKENS;
use carnot_kernels::{Compute, InstructionSet, KvType, Tuning};
use carnot_probe::{Kind, SiteId, memory, site, span};

use crate::blocks::blocks_for;
use crate::codec::Codec;
use crate::drafter::Drafter;
use crate::faults;
use crate::forward::{Batch, BatchSpan, KvRoom, Model};
use crate::head_padding::cached_shape;
use crate::memory_need::{MemoryNeed, StepSize};
use crate::pooling::Pool;
use crate::sampler::{Choice, Rules};
use crate::scheduler::{Account, Chunk, Dropped, Job, Policy, Scheduler};
use crate::{Error, Sampler, StreamDecoder};

use self::draws::{Drawn, Stop};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Workers, the caller included.
    pub threads: usize,
    /// Most tokens of a sequence; at most the model's own limit.
    pub context: usize,
    /// How much room there is for keys and values.
    pub cache: CacheSize,
    /// How they are stored.
    pub kv_type: KvType,
    /// How steps are planned; its context is the one above.
    pub policy: Policy,
    /// Kernels to use; `None` for the best.
    pub instruction_set: Option<InstructionSet>,
    /// Which of them takes how many rows.
    pub tuning: Tuning,
    /// A smaller model of the same vocabulary that guesses ahead, where the policy has it.
    pub draft_model: Option<Arc<ModelFile>>,
    /// Bytes of memory that loading may take; `None` for any number.
    pub available_bytes: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            context: 8192,
            cache: CacheSize::default(),
            kv_type: KvType::default(),
            policy: Policy::default(),
            instruction_set: None,
            tuning: Tuning::default(),
            draft_model: None,
            available_bytes: None,
        }
    }
}

/// How much room there is for keys and values, of all sequences and kept prefixes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheSize {
    /// For one context.
    #[default]
    Context,
    /// For so many tokens.
    Tokens(usize),
    /// As many tokens as fit in so many bytes.
    Bytes(u64),
}

fn tokens_in(bytes: u64, config: &ModelConfig, kv_type: KvType) -> usize {
    let token_bytes = cached_shape(config, kv_type).token_bytes() * config.layers;
    usize::try_from(bytes / token_bytes.max(1) as u64).unwrap_or(usize::MAX)
}

/// What the engine knows of a request beside what the scheduler does.
struct Live {
    request: TextRequest,
    /// Locked by the worker that draws.
    sampler: Mutex<Sampler>,
    decoder: StreamDecoder,
    /// Where a vector is asked for instead of a text.
    pool: Option<Pool>,
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
    codec: Arc<Codec>,
    info: ModelInfo,
    scheduler: Scheduler,
    live: HashMap<RequestId, Live>,
    drafter: Option<Drafter>,
    /// Blocks in use when the probe was last told.
    told_blocks: usize,
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
        faults::arm_from_environment();
        let config = file.config().clone();
        let context = options.context.clamp(1, config.context_length.max(1));
        let cache_tokens = match options.cache {
            CacheSize::Context => context,
            CacheSize::Tokens(tokens) => tokens,
            CacheSize::Bytes(bytes) => tokens_in(bytes, &config, options.kv_type),
        };
        let policy = Policy {
            context,
            has_drafter: options.draft_model.is_some(),
            ..options.policy
        };
        if let Some(available) = options.available_bytes {
            let size = StepSize {
                context: cache_tokens,
                kv_type: options.kv_type,
                rows: policy.max_prompt_tokens + policy.max_running * (1 + policy.draft_tokens),
                logit_rows: policy.max_running * (1 + policy.draft_tokens),
            };
            let need = MemoryNeed::of(&file, size);
            need.check(file.path(), available)?;
            if let Some(draft) = &options.draft_model {
                let left = available - need.total();
                MemoryNeed::of(draft, size).check(draft.path(), left)?;
            }
        }
        let tokenizer = Arc::new(file.tokenizer()?);
        let blocks = blocks_for(cache_tokens);
        let scheduler = Scheduler::new(policy, blocks);
        let info = ModelInfo {
            name: file.name().to_owned(),
            architecture: format!("{:?}", config.architecture).to_lowercase(),
            parameters: file.parameters(),
            file_type: file.file_type(),
            bytes: file.bytes(),
            vocabulary: config.vocabulary,
            context_length: scheduler.context(),
        };
        let set = options.instruction_set.unwrap_or_else(InstructionSet::best);
        let compute =
            || Compute::with_instruction_set(options.threads, set).tuned(set, options.tuning);
        let room = KvRoom {
            blocks,
            dtype: options.kv_type,
        };
        let drafter = options.draft_model.clone();
        let drafter = drafter.map(|file| Drafter::load(file, &tokenizer, compute(), room));
        // One that does not fit is refused before the model, which takes longer, is loaded.
        let drafter = drafter.transpose()?;
        let codec = Codec::new(Arc::clone(&tokenizer), file.chat_template()?, &info.name);
        let model = Model::load(file, compute(), room, progress)?;
        memory(
            site("weights", Kind::Memory),
            model.weights().packed_bytes().cast_signed(),
            0,
        );
        Ok(Self {
            model,
            tokenizer,
            codec: Arc::new(codec),
            info,
            scheduler,
            live: HashMap::new(),
            drafter,
            told_blocks: 0,
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

    fn check(&self, request: &TextRequest) -> Result<(), EngineError> {
        request.validate()?;
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

    fn rules(&self, request: &TextRequest) -> Rules {
        let eos = if request.ignore_eos {
            &[]
        } else {
            self.tokenizer.eos()
        };
        Rules {
            sampling: request.sampling,
            bias: request.logit_bias.clone(),
            ends: [eos, &request.stop_tokens].concat(),
            min_tokens: request.min_tokens,
            logprobs: request.logprobs,
        }
    }

    /// Runs the model on all chunks of a step; the logits that are wanted are then the model's.
    fn compute(&mut self, chunks: &[Chunk]) {
        let drafted: Vec<Vec<u32>> = chunks.iter().map(|chunk| self.drafted(chunk)).collect();
        let mut rows = 0;
        let mut wanted = Vec::new();
        let spans: Vec<BatchSpan<'_>> = chunks
            .iter()
            .zip(&drafted)
            .map(|(chunk, drafted)| {
                let tokens = if drafted.is_empty() {
                    &self.scheduler.tokens(chunk.id)[chunk.positions.clone()]
                } else {
                    drafted
                };
                rows += tokens.len();
                if chunk.samples && self.live[&chunk.id].pool.is_none() {
                    wanted.extend(rows - 1 - chunk.draft.len()..rows);
                }
                BatchSpan {
                    tokens,
                    position: chunk.positions.start,
                    blocks: self.scheduler.blocks(chunk.id),
                }
            })
            .collect();
        self.model.forward(Batch {
            spans: &spans,
            logits: &wanted,
        });
    }

    /// The tokens of a chunk with a draft, and its draft; nothing for others, which are where the scheduler has them.
    fn drafted(&self, chunk: &Chunk) -> Vec<u32> {
        if chunk.draft.is_empty() {
            return Vec::new();
        }
        let certain = &self.scheduler.tokens(chunk.id)[chunk.positions.clone()];
        [certain, &chunk.draft].concat()
    }

    /// Takes the hidden states of a chunk's rows if its request asks for a vector, which is there with the last chunk; false if it asks for a text.
    fn embed(&mut self, chunk: &Chunk, rows: Range<usize>, events: &mut Vec<Event>) -> bool {
        let live = self.live.get_mut(&chunk.id);
        let Some(pool) = live.and_then(|live| live.pool.as_mut()) else {
            return false;
        };
        let (norm, epsilon) = self.model.output_norm();
        pool.add(
            chunk.positions.start,
            self.model.hidden(rows),
            norm,
            epsilon,
        );
        if chunk.samples {
            events.push(Event::Embedding {
                request: chunk.id,
                values: pool.finish(),
            });
            let (prompt, account) = (
                self.prompt_tokens(chunk.id),
                self.scheduler.account(chunk.id),
            );
            self.scheduler.finish(chunk.id);
            self.end(
                chunk.id,
                FinishReason::Stop,
                usage(prompt, 0, account),
                events,
            );
        }
        true
    }

    /// Tells the tokens that were drawn after a chunk; returns how many, and why the sequence ends if it does.
    fn tell(
        &mut self,
        chunk: &Chunk,
        drawn: Drawn,
        events: &mut Vec<Event>,
    ) -> (usize, Option<FinishReason>) {
        let _detokenize = span(self.sites.detokenize);
        let mut told = 0;
        for choice in drawn.choices {
            if told > 0 {
                self.scheduler.confirm(chunk.id);
            }
            told += 1;
            let ended = self.tell_token(chunk.id, choice, events);
            if ended.is_some() {
                return (told, ended);
            }
        }
        let why_not_more = match drawn.stop {
            Stop::Wanted => None,
            Stop::NothingWanted => Some(FinishReason::Length),
            Stop::OutOfGrammar => Some(FinishReason::OutOfGrammar),
            Stop::Panicked => Some(FinishReason::Panicked),
        };
        (told, why_not_more)
    }

    /// Tells a token, and says why the sequence ends if it does.
    fn tell_token(
        &mut self,
        id: RequestId,
        choice: Choice,
        events: &mut Vec<Event>,
    ) -> Option<FinishReason> {
        let token = choice.token;
        let may_go_on = self.scheduler.push(id, token);
        faults::at("sampled");
        let ended = choice.ends;
        let bytes = if ended {
            None
        } else {
            self.tokenizer.token_bytes(token)
        };
        let live = self.live.get_mut(&id).expect("what is planned is live");
        let mut piece = live.decoder.push(&bytes.unwrap_or_default());
        if ended || choice.completes {
            piece.text += &live.decoder.finish();
        }
        events.push(Event::Token {
            request: id,
            token,
            text: piece.text,
            logprobs: choice.logprobs.map(Box::new),
        });
        if ended || piece.stopped || choice.completes {
            Some(FinishReason::Stop)
        } else {
            (!may_go_on).then_some(FinishReason::Length)
        }
    }

    fn prompt_tokens(&self, id: RequestId) -> usize {
        let live = self.live.get(&id);
        live.map_or(0, |live| live.request.prompt.len())
    }

    /// Ends a request that the scheduler has forgotten, or is about to.
    fn end(&mut self, id: RequestId, reason: FinishReason, usage: Usage, events: &mut Vec<Event>) {
        let Some(mut live) = self.live.remove(&id) else {
            return;
        };
        if let Some(drafter) = &mut self.drafter {
            drafter.forget(id);
        }
        let text = if reason == FinishReason::Stop {
            String::new()
        } else {
            live.decoder.finish()
        };
        events.push(Event::Finished {
            request: id,
            reason,
            text,
            usage,
        });
    }

    /// Tells the probe by how much the keys and values grew.
    fn tell_memory(&mut self) {
        let census = self.scheduler.census();
        let blocks = census.blocks - census.free_blocks;
        let tokens = (blocks as i64 - self.told_blocks as i64) * BLOCK_TOKENS as i64;
        if tokens != 0 {
            memory(
                self.sites.cache,
                tokens * self.model.kv_token_bytes().cast_signed(),
                0,
            );
        }
        self.told_blocks = blocks;
    }
}

impl TextEngine for LlmEngine {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn codec(&self) -> Arc<dyn TextCodec> {
        Arc::clone(&self.codec) as Arc<dyn TextCodec>
    }

    fn pause(&mut self, request: RequestId, is_paused: bool) {
        self.scheduler.pause(request, is_paused);
    }

    fn census(&self) -> Census {
        self.scheduler.census()
    }

    fn flush_prefix_cache(&mut self) -> usize {
        self.scheduler.flush()
    }

    fn submit(&mut self, request: TextRequest, now: Duration) -> Result<RequestId, EngineError> {
        self.check(&request)?;
        let guide = request.grammar.as_ref();
        let guide = guide.map(|grammar| self.codec.guide(grammar)).transpose()?;
        let job = Job {
            prompt: request.prompt.clone(),
            max_tokens: request.max_tokens,
            tenant: Arc::clone(&request.tenant),
            priority: request.priority,
            deadline: request.deadline,
            is_whole: request.embed == Some(Pooling::Mean),
        };
        let id = self.scheduler.submit(job, now);
        let sampler = Sampler::new(self.rules(&request), &request.prompt);
        let live = Live {
            sampler: Mutex::new(sampler.guided(guide)),
            decoder: StreamDecoder::new(request.stop.clone()),
            pool: request.embed.map(Pool::new),
            request,
        };
        self.live.insert(id, live);
        Ok(id)
    }

    fn cancel(&mut self, request: RequestId) {
        self.scheduler.cancel(request);
    }

    fn step(&mut self, now: Duration, events: &mut Vec<Event>) -> Result<StepOutcome, EngineError> {
        let mut step = self.scheduler.plan(now);
        for ended in step.dropped {
            let reason = match ended.why {
                Dropped::Cancelled => FinishReason::Cancelled,
                Dropped::Late => FinishReason::TimedOut,
            };
            let prompt = self.prompt_tokens(ended.id);
            let usage = usage(prompt, ended.generated, ended.account);
            self.end(ended.id, reason, usage, events);
        }
        for (request, cached_tokens) in step.begun {
            events.push(Event::Started {
                request,
                cached_tokens,
            });
        }
        faults::at("planned");
        let mut outcome = StepOutcome::default();
        if step.chunks.is_empty() {
            self.tell_memory();
            return Ok(outcome);
        }
        let rows: usize = step.chunks.iter().map(|chunk| chunk.positions.len()).sum();
        let mut timed = span(self.sites.step);
        if let [only] = step.chunks.as_slice() {
            timed = timed.request(only.id.0 as u32);
        }
        timed.set_tokens(rows as u32);
        faults::contends("slow lock");
        self.tell_memory();
        for copy in &step.copies {
            self.model.copy_block(copy.from.number(), copy.to);
            if let Some(drafter) = &mut self.drafter {
                drafter.copy(copy);
            }
        }
        if let Some(drafter) = &mut self.drafter {
            drafter.follow(&self.scheduler, &mut step.chunks);
        }
        self.compute(&step.chunks);
        faults::at("computed");
        let sampling = span(self.sites.sampling);
        faults::allocates("slow allocation");
        let mut drawn = draws::draw(&mut self.model, &self.live, &step.chunks).into_iter();
        sampling.end();
        let mut first = 0;
        for chunk in step.chunks {
            self.scheduler.computed(&chunk);
            if chunk.is_prefill {
                outcome.prefill_tokens += chunk.positions.len();
            }
            let rows = first..first + chunk.positions.len() + chunk.draft.len();
            first = rows.end;
            if self.embed(&chunk, rows, events) {
                continue;
            }
            if !chunk.samples {
                events.push(Event::Prefilling {
                    request: chunk.id,
                    tokens: chunk.positions.end,
                });
                continue;
            }
            let prompt = self.prompt_tokens(chunk.id);
            if chunk.positions.end == prompt {
                events.push(Event::Prefilled {
                    request: chunk.id,
                    tokens: prompt,
                });
            }
            let drawn = drawn.next().expect("a chunk that samples was drawn for");
            let (tokens, ended) = self.tell(&chunk, drawn, events);
            let generated = self.scheduler.generated(chunk.id);
            outcome.decode_tokens += tokens;
            if let Some(reason) = ended {
                let account = self.scheduler.account(chunk.id);
                self.scheduler.finish(chunk.id);
                self.end(chunk.id, reason, usage(prompt, generated, account), events);
            }
        }
        Ok(outcome)
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }
}

fn usage(prompt_tokens: usize, generated_tokens: usize, account: Account) -> Usage {
    Usage {
        prompt_tokens,
        cached_tokens: account.reused,
        recomputed_tokens: account.recomputed,
        generated_tokens,
    }
}

mod draws;
#[cfg(test)]
mod tests;
