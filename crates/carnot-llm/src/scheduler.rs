//! Which tokens of which sequences a step computes: continuous batching over paged keys and values.
//!
//! ```text
//! submit ─▶ waiting ─ admit ─▶ running: prefill, chunk by chunk ─▶ decode, a token a step ─▶ finish
//!              ▲                                 │
//!              └────────── preempt ◀─────────────┘
//! ```
//!
//! A step first takes a token of every sequence that decodes, then as many prompt tokens as fit into the time that a step may take.
//! There is no padding and no step of one kind only. Where blocks run out, cached prefixes are evicted, and then the sequence of the
//! lowest priority makes room: it waits again, and computes again what the cache has lost by then.
//!
//! The scheduler computes nothing and reads no clock. It is the same for a model and for the simulator.

mod draft;
mod pace;
mod plan;
mod queue;
mod sequence;
mod tenants;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use carnot_engine::{Census, MAX_PRIORITY, RequestId};
use carnot_kernels::kv::BLOCK_TOKENS;

use self::draft::{Worth, lookup};
use self::pace::Pace;
pub use self::plan::{BlockCopy, Chunk, Dropped, Ended, Step};
use self::queue::{Candidate, Order, Queue};
use self::sequence::Sequence;
pub use self::sequence::{Account, Job};
use self::tenants::Tenants;
use crate::blocks::{BlockPool, blocks_for};
use crate::prefix_cache::{Eviction, PrefixCache, PrefixMatch, common_prefix};

/// Tokens that a running sequence is left room for before others are let in.
const HEADROOM: usize = 64;

/// How a scheduler decides.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Most sequences that run at once.
    pub max_running: usize,
    /// Most prompt tokens of a step.
    pub max_prompt_tokens: usize,
    /// How long a step may take while sequences decode, which is what they wait for their next token; `None` for 1.75 times what
    /// it takes without prompts.
    pub step_target: Option<Duration>,
    /// A waiting request rises by a level each time that this has passed without a turn for its priority and tenant.
    pub ageing: Duration,
    /// How often a request may be passed over by others with a longer cached prefix.
    pub max_passes: u32,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most tokens that are guessed to follow a sequence, where that pays; 0 guesses none.
    pub draft_tokens: usize,
    /// Whether guesses are made by whoever computes the step, for whom the scheduler leaves places; otherwise they are what followed the
    /// same tokens before.
    pub has_drafter: bool,
    /// Whether prefixes are kept when a sequence ends.
    pub prefix_cache: bool,
    /// Which of them are given up first.
    pub eviction: Eviction,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_running: 16,
            max_prompt_tokens: 512,
            step_target: None,
            ageing: Duration::from_secs(10),
            max_passes: 8,
            context: 8192,
            draft_tokens: 0,
            has_drafter: false,
            prefix_cache: true,
            eviction: Eviction::default(),
        }
    }
}

/// A step whose time is not known yet.
#[derive(Clone, Copy, Debug)]
struct Last {
    began: Duration,
    prompt_tokens: usize,
    decoding: usize,
    is_drafted: bool,
    /// Tokens that came of it.
    generated: usize,
}

/// Decides what each step computes.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    pool: BlockPool,
    cache: PrefixCache,
    sequences: HashMap<RequestId, Sequence>,
    queue: Queue,
    /// In the order of their admission.
    running: Vec<RequestId>,
    deadlines: BTreeSet<(Duration, RequestId)>,
    cancelled: Vec<RequestId>,
    tenants: Tenants,
    pace: Pace,
    worth: Worth,
    /// What is known of the last step.
    last: Option<Last>,
    now: Duration,
    next_id: u64,
    waiting_tokens: usize,
    preemptions: u64,
}

impl Scheduler {
    /// A scheduler over `blocks` blocks of 16 tokens.
    pub fn new(policy: Policy, blocks: usize) -> Self {
        let policy = Policy {
            max_running: policy.max_running.max(1),
            max_prompt_tokens: policy.max_prompt_tokens.max(1),
            context: policy.context.min(blocks * BLOCK_TOKENS),
            ..policy
        };
        Self {
            policy,
            pool: BlockPool::new(blocks),
            cache: PrefixCache::new(policy.eviction),
            sequences: HashMap::new(),
            queue: Queue::default(),
            running: Vec::new(),
            deadlines: BTreeSet::new(),
            cancelled: Vec::new(),
            tenants: Tenants::default(),
            pace: Pace::default(),
            worth: Worth::default(),
            last: None,
            now: Duration::ZERO,
            next_id: 0,
            waiting_tokens: 0,
            preemptions: 0,
        }
    }

    /// Most tokens of a sequence: a prompt must be shorter.
    pub fn context(&self) -> usize {
        self.policy.context
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// What there is at the moment.
    pub fn census(&self) -> Census {
        Census {
            running: self.running.len(),
            waiting: self.queue.len(),
            waiting_tokens: self.waiting_tokens,
            blocks: self.pool.blocks(),
            free_blocks: self.pool.free_blocks(),
            cached_blocks: self.cache.evictable_blocks(),
            cached_tokens: self.cache.tokens(),
            preemptions: self.preemptions,
        }
    }

    /// Requests of a priority that wait.
    pub fn waiting_of(&self, priority: u8) -> usize {
        self.queue.len_of(priority)
    }

    /// Takes a job, whose prompt has at least one token and fewer than [`context`](Self::context).
    pub fn submit(&mut self, job: Job, now: Duration) -> RequestId {
        debug_assert!(!job.prompt.is_empty() && job.prompt.len() < self.policy.context);
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.tenants.enter(&job.tenant);
        self.deadlines.extend(job.deadline.map(|at| (at, id)));
        let job = Job {
            priority: job.priority.min(MAX_PRIORITY),
            ..job
        };
        let sequence = Sequence::new(job, self.policy.context);
        self.queue
            .push(id, sequence.priority, &sequence.tenant, now);
        self.waiting_tokens += sequence.tokens.len();
        self.sequences.insert(id, sequence);
        id
    }

    /// Gives a request up at the next step; nothing happens if it is not there.
    pub fn cancel(&mut self, id: RequestId) {
        self.cancelled.push(id);
    }

    /// Stops computing a sequence, which keeps its place and its blocks, or goes on with it.
    pub fn pause(&mut self, id: RequestId, is_paused: bool) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.is_paused = is_paused;
        }
    }

    /// All tokens of a sequence: its prompt, and what was generated.
    pub fn tokens(&self, id: RequestId) -> &[u32] {
        &self.sequence(id).tokens
    }

    /// Tokens that were generated.
    pub fn generated(&self, id: RequestId) -> usize {
        let sequence = self.sequence(id);
        sequence.tokens.len() - sequence.prompt
    }

    /// Numbers of the blocks that hold a sequence's keys and values.
    pub fn blocks(&self, id: RequestId) -> &[u32] {
        self.sequence(id).table.numbers()
    }

    /// What became of a sequence's tokens so far.
    pub fn account(&self, id: RequestId) -> Account {
        self.sequence(id).account
    }

    /// Plans the next step. `now` counts from any moment, and never backwards.
    pub fn plan(&mut self, now: Duration) -> Step {
        if let Some(last) = self.last.take() {
            let took = now.saturating_sub(last.began);
            self.pace.observe(last.prompt_tokens, last.decoding, took);
            if last.prompt_tokens == 0 {
                self.worth
                    .observe(last.is_drafted, took.as_secs_f64(), last.generated);
            }
        }
        self.now = now;
        let mut step = Step::default();
        self.drop_late();
        self.drop_cancelled(&mut step);
        self.displace();
        self.decode(&mut step);
        let decoding = step.chunks.len();
        let fitting = self.pace.prompt_tokens(
            self.policy.step_target,
            decoding,
            self.coming(),
            self.policy.max_prompt_tokens,
        );
        let left = self.prefill(&mut step, fitting);
        self.admit(&mut step, left);
        if !step.chunks.is_empty() {
            let prompt = step.chunks[decoding..]
                .iter()
                .map(|chunk| chunk.positions.len())
                .sum();
            self.last = Some(Last {
                began: now,
                prompt_tokens: prompt,
                decoding,
                is_drafted: step.chunks.iter().any(|chunk| !chunk.draft.is_empty()),
                generated: 0,
            });
        }
        step
    }

    /// Sequences that will decode once their prompts are done, of those that have places or could have.
    fn coming(&self) -> usize {
        let prompts = self.running.iter();
        let prompts = prompts.filter(|&&id| !self.sequence(id).decodes()).count();
        let places = self.policy.max_running.saturating_sub(self.running.len());
        prompts + places.min(self.queue.len())
    }

    /// The chunk is computed.
    pub fn computed(&mut self, chunk: &Chunk) {
        let cache_it = self.policy.prefix_cache && chunk.is_prefill;
        let Some(sequence) = self.sequences.get_mut(&chunk.id) else {
            return;
        };
        let Range { start, end } = chunk.positions;
        sequence.computed = end;
        let again = sequence.reached.min(end).saturating_sub(start);
        sequence.account.recomputed += again;
        sequence.reached = sequence.reached.max(end);
        self.tenants
            .serve(&sequence.tenant, end - start, chunk.is_prefill);
        if cache_it {
            self.enter_cache(chunk.id);
        }
    }

    /// A token of a draft was generated, after [`push`](Self::push) of it: its keys and values are right.
    pub fn confirm(&mut self, id: RequestId) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.computed += 1;
            sequence.reached = sequence.reached.max(sequence.computed);
        }
    }

    /// Adds a generated token; returns whether there may be more.
    pub fn push(&mut self, id: RequestId, token: u32) -> bool {
        if let Some(last) = &mut self.last {
            last.generated += 1;
        }
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return false;
        };
        sequence.tokens.push(token);
        sequence.tokens.len() < sequence.limit
    }

    /// Ends a sequence; what it computed may serve others.
    pub fn finish(&mut self, id: RequestId) {
        if self.policy.prefix_cache {
            self.enter_cache(id);
        }
        self.forget(id);
    }

    /// Forgets all cached prefixes that nobody uses; returns how many blocks that freed.
    pub fn flush(&mut self) -> usize {
        self.cache.flush()
    }

    /// Holds books and blocks to what they promise; for tests.
    ///
    /// # Panics
    /// If anything is not as it has to be.
    pub fn check_integrity(&self) {
        self.cache.check_integrity();
        let census = self.census();
        assert_eq!(census.running + census.waiting, self.sequences.len());
        let live = self.tenants.requests();
        assert_eq!(live, self.sequences.len(), "requests of the tenants");
        let waiting = self
            .sequences
            .values()
            .filter(|sequence| !sequence.is_running);
        assert_eq!(
            waiting.map(|sequence| sequence.tokens.len()).sum::<usize>(),
            self.waiting_tokens
        );
        for (id, sequence) in &self.sequences {
            assert_eq!(sequence.is_running, self.running.contains(id));
            assert!(sequence.computed <= sequence.table.held().len() * BLOCK_TOKENS);
            assert!(sequence.computed < sequence.tokens.len() || sequence.table.held().is_empty());
        }
        if self.sequences.is_empty() {
            assert_eq!(
                census.free_blocks + census.cached_blocks,
                census.blocks,
                "blocks come back"
            );
        }
    }

    fn sequence(&self, id: RequestId) -> &Sequence {
        self.sequences
            .get(&id)
            .expect("only live requests are asked for")
    }

    fn sequence_mut(&mut self, id: RequestId) -> &mut Sequence {
        self.sequences
            .get_mut(&id)
            .expect("only live requests are planned")
    }

    fn drop_late(&mut self) {
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= self.now
        {
            self.deadlines.pop_first();
            self.cancelled.push(id);
        }
    }

    fn drop_cancelled(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut self.cancelled) {
            let Some(sequence) = self.sequences.get(&id) else {
                continue;
            };
            let is_late = sequence
                .deadline
                .is_some_and(|at| !self.deadlines.contains(&(at, id)));
            let why = if is_late {
                Dropped::Late
            } else {
                Dropped::Cancelled
            };
            step.dropped.push(Ended {
                id,
                why,
                generated: sequence.tokens.len() - sequence.prompt,
                account: sequence.account,
            });
            self.finish(id);
        }
    }

    /// Takes a sequence out of everything.
    fn forget(&mut self, id: RequestId) {
        let Some(sequence) = self.sequences.remove(&id) else {
            return;
        };
        if sequence.is_running {
            self.running.retain(|running| *running != id);
        } else {
            self.queue.remove(id, sequence.priority, &sequence.tenant);
            self.waiting_tokens -= sequence.tokens.len();
        }
        if let Some(pin) = sequence.pin {
            self.cache.release(pin);
        }
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.tenants.leave(&sequence.tenant);
    }

    /// Enters what a sequence has computed.
    fn enter_cache(&mut self, id: RequestId) {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return;
        };
        sequence.pin = self.cache.insert(
            &sequence.tenant,
            &sequence.tokens[..sequence.computed],
            sequence.table.held(),
            sequence.pin.take(),
        );
    }

    /// Gives a sequence's place and blocks up, and puts it back where it stood in the queue.
    fn preempt(&mut self, id: RequestId, step: &mut Step) {
        if self.policy.prefix_cache {
            self.enter_cache(id);
        }
        self.running.retain(|running| *running != id);
        step.chunks.retain(|chunk| chunk.id != id);
        let sequence = self.sequence_mut(id);
        sequence.is_running = false;
        sequence.computed = 0;
        sequence.table.clear();
        sequence.account.preemptions += 1;
        let (priority, tenant) = (sequence.priority, Arc::clone(&sequence.tenant));
        let tokens = sequence.tokens.len();
        // Running is not waiting: it has the level that it was admitted with, or it would push out who pushed it out.
        let arrived = self.now.saturating_sub(self.sequence(id).waited);
        let pin = self.sequence_mut(id).pin.take();
        if let Some(pin) = pin {
            self.cache.release(pin);
        }
        self.queue.push(id, priority, &tenant, arrived);
        self.waiting_tokens += tokens;
        self.preemptions += 1;
    }

    /// Who makes room first: the lowest level, of these who did least often, of these the latest.
    fn victim(&self) -> Option<RequestId> {
        let sequences = self.running.iter().map(|&id| (id, self.sequence(id)));
        let first = sequences.min_by_key(|(id, sequence)| {
            (sequence.level, sequence.account.preemptions, Reverse(*id))
        });
        first.map(|(id, _)| id)
    }

    fn candidate(&self) -> Option<Candidate> {
        let order = Order {
            ageing: self.policy.ageing,
            max_passes: self.policy.max_passes,
        };
        let served = |tenant: &Arc<str>| self.tenants.served(tenant);
        let matching = |id| {
            let sequence = self.sequence(id);
            self.cache.matching(&sequence.tenant, &sequence.tokens)
        };
        self.queue.candidate(self.now, order, served, matching)
    }

    /// Blocks that running sequences will want soon: who is let in at their cost is soon thrown out again.
    fn headroom(&self) -> usize {
        let soon = |&id: &RequestId| {
            let sequence = self.sequence(id);
            let left = sequence.limit.saturating_sub(sequence.tokens.len());
            left.min(HEADROOM) / BLOCK_TOKENS
        };
        self.running.iter().map(soon).sum()
    }

    /// Blocks that a waiting sequence lacks to hold its tokens and one more.
    fn lacking(&self, id: RequestId) -> usize {
        let sequence = self.sequence(id);
        let cached = self.cache.matching(&sequence.tenant, sequence.reusable());
        let shared = cached / BLOCK_TOKENS;
        let needed = blocks_for((sequence.tokens.len() + 1).min(self.policy.context)) - shared;
        let spared = self.cache.would_pin(&sequence.tenant, sequence.reusable());
        let available = self.pool.free_blocks() + self.cache.evictable_blocks() - spared;
        (needed + self.headroom()).saturating_sub(available)
    }

    /// Makes room for who is next, if those in its way were admitted on a level below its priority.
    fn displace(&mut self) {
        let Some(next) = self.candidate() else {
            return;
        };
        while self.running.len() >= self.policy.max_running || self.lacking(next.id) > 0 {
            let victim = self.victim();
            let lower = victim.filter(|&id| self.sequence(id).level < next.priority);
            let Some(victim) = lower else {
                return;
            };
            self.preempt(victim, &mut Step::default());
        }
    }

    /// A token of every sequence that decodes, the highest priorities first.
    fn decode(&mut self, step: &mut Step) {
        let decoding = self.running.iter().filter(|id| {
            let sequence = self.sequence(**id);
            sequence.decodes() && !sequence.is_paused
        });
        let mut decoding: Vec<RequestId> = decoding.copied().collect();
        decoding.sort_by_key(|&id| (Reverse(self.sequence(id).priority), id));
        for id in decoding {
            if !self.sequence(id).is_running || !self.make_room(id, step) {
                continue;
            }
            let last = self.sequence(id).computed;
            step.chunks.push(Chunk {
                id,
                positions: last..last + 1,
                samples: true,
                is_prefill: false,
                draft: self.guess(id),
            });
        }
    }

    /// Tokens that may follow a sequence, if guessing pays and there are blocks for them that nobody needs.
    fn guess(&mut self, id: RequestId) -> Vec<u32> {
        if self.policy.draft_tokens == 0 || !self.worth.pays() {
            return Vec::new();
        }
        let sequence = self
            .sequences
            .get_mut(&id)
            .expect("only live requests are planned");
        // The last token that there may be needs nothing after it.
        let room = sequence.limit.saturating_sub(sequence.tokens.len() + 1);
        let most = room.min(self.policy.draft_tokens);
        let guess = if self.policy.has_drafter {
            vec![0; most]
        } else {
            lookup(&sequence.tokens, most).to_vec()
        };
        let covered = sequence.tokens.len() + guess.len();
        match sequence.table.grow(&self.pool, covered) {
            Ok(()) => guess,
            Err(_) => Vec::new(),
        }
    }

    /// Covers all tokens of a sequence with blocks, at the cost of others or, if there is no other, of itself.
    fn make_room(&mut self, id: RequestId, step: &mut Step) -> bool {
        loop {
            let sequence = self
                .sequences
                .get_mut(&id)
                .expect("only live requests are planned");
            let Err(lacking) = sequence.table.grow(&self.pool, sequence.tokens.len()) else {
                return true;
            };
            if self.cache.evict(lacking) >= lacking {
                continue;
            }
            let victim = self.victim().unwrap_or(id);
            self.preempt(victim, step);
            if victim == id {
                return false;
            }
        }
    }

    /// Goes on with prompts that were begun; returns how many of the `left` tokens nobody took.
    fn prefill(&mut self, step: &mut Step, mut left: usize) -> usize {
        for id in self.running.clone() {
            let sequence = self.sequence(id);
            if left > 0 && !sequence.decodes() && !sequence.is_paused {
                left -= self.chunk(id, step, left);
            }
        }
        left
    }

    /// Plans up to `most` tokens of a prompt, whose blocks it has; returns how many.
    fn chunk(&mut self, id: RequestId, step: &mut Step, most: usize) -> usize {
        let sequence = self.sequence(id);
        let end = sequence.tokens.len().min(sequence.computed + most);
        let chunk = Chunk {
            id,
            positions: sequence.computed..end,
            samples: end == sequence.tokens.len(),
            is_prefill: true,
            draft: Vec::new(),
        };
        let count = chunk.positions.len();
        step.chunks.push(chunk);
        count
    }

    /// Begins waiting requests while there are places, blocks and time.
    fn admit(&mut self, step: &mut Step, mut left: usize) {
        while left > 0 && self.running.len() < self.policy.max_running {
            let Some(next) = self.candidate() else {
                return;
            };
            if self.running.is_empty() && self.lacking(next.id) > 0 {
                // Its own cached prefix is in its way: where edges part within a block, a path holds that block twice.
                self.cache.flush();
            }
            if self.lacking(next.id) > 0 || self.is_being_computed(next.id, step) {
                return;
            }
            self.queue.take(&next, self.now);
            self.begin(&next, step);
            left -= self.chunk(next.id, step, left);
        }
    }

    /// Whether a prompt of this step has more in common with a waiting one than the cache: the next step will find it there.
    fn is_being_computed(&self, id: RequestId, step: &Step) -> bool {
        if !self.policy.prefix_cache {
            return false;
        }
        let waiting = self.sequence(id);
        if waiting.is_whole {
            return false;
        }
        let cached = self.cache.matching(&waiting.tenant, &waiting.tokens);
        let prompts = step.chunks.iter().filter(|chunk| chunk.is_prefill);
        prompts.map(|chunk| self.sequence(chunk.id)).any(|other| {
            other.tenant == waiting.tenant
                && common_prefix(&other.tokens, &waiting.tokens) >= cached + BLOCK_TOKENS
        })
    }

    /// Gives a request a place, what is cached of it, and blocks for the rest.
    fn begin(&mut self, next: &Candidate, step: &mut Step) {
        let id = next.id;
        let sequence = self
            .sequences
            .get_mut(&id)
            .expect("only live requests wait");
        sequence.level = next.level;
        sequence.waited = next.waited;
        let PrefixMatch {
            tokens: cached,
            mut blocks,
            pin,
        } = self.cache.acquire(&sequence.tenant, sequence.reusable());
        // The last block is somebody else's to go on with.
        let partial = (!cached.is_multiple_of(BLOCK_TOKENS))
            .then(|| blocks.pop())
            .flatten();
        blocks
            .into_iter()
            .for_each(|block| sequence.table.push(block));
        self.waiting_tokens -= sequence.tokens.len();
        sequence.pin = pin;
        sequence.is_running = true;
        sequence.computed = cached;
        if sequence.reached == 0 {
            sequence.account.reused = cached;
            sequence.reached = cached;
        }
        let missing = sequence.table.missing(sequence.tokens.len());
        let lacking = missing.saturating_sub(self.pool.free_blocks());
        self.cache.evict(lacking);
        let grown = sequence.table.grow(&self.pool, sequence.tokens.len());
        debug_assert!(grown.is_ok(), "looked at before");
        if let Some(from) = partial {
            let to = sequence.table.numbers()[cached / BLOCK_TOKENS];
            step.copies.push(BlockCopy { from, to });
        }
        step.begun.push((id, cached));
        self.running.push(id);
    }
}

#[cfg(test)]
mod tests;
