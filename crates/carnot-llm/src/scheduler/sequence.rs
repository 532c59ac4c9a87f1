//! What the scheduler knows of a request.

use std::sync::Arc;
use std::time::Duration;

use crate::blocks::BlockTable;
use crate::prefix_cache::Pin;

/// A request, as far as it has to be scheduled.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The tokens to continue; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Whose it is: tenants take turns, and see nothing of each other's prefixes.
    pub tenant: Arc<str>,
    /// From 0 to 10, 10 first.
    pub priority: u8,
    /// When it is of no use any more.
    pub deadline: Option<Duration>,
    /// Whether every token has to be computed for it, so that none comes from the cache.
    pub is_whole: bool,
}

/// What became of a request's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Prompt tokens whose keys and values were found in the prefix cache when it first ran.
    pub reused: usize,
    /// Tokens that were computed again after a preemption.
    pub recomputed: usize,
    /// How often it had to make room for others.
    pub preemptions: u32,
}

/// A request that waits or runs.
#[derive(Debug)]
pub(super) struct Sequence {
    pub tokens: Vec<u32>,
    pub prompt: usize,
    /// Most tokens that it may come to.
    pub limit: usize,
    pub tenant: Arc<str>,
    pub priority: u8,
    pub deadline: Option<Duration>,
    /// Where it stood in the queue when it was admitted, and how long it had waited.
    pub level: u8,
    pub waited: Duration,
    pub table: BlockTable,
    pub pin: Option<Pin>,
    /// Tokens whose keys and values are in the table's blocks.
    pub computed: usize,
    /// The most that this ever was.
    pub reached: usize,
    pub is_running: bool,
    pub is_paused: bool,
    pub is_whole: bool,
    pub account: Account,
}

impl Sequence {
    pub fn new(job: Job, context: usize) -> Self {
        let prompt = job.prompt.len();
        Self {
            tokens: job.prompt,
            prompt,
            limit: prompt.saturating_add(job.max_tokens).min(context),
            tenant: job.tenant,
            priority: job.priority,
            deadline: job.deadline,
            level: 0,
            waited: Duration::ZERO,
            table: BlockTable::default(),
            pin: None,
            computed: 0,
            reached: 0,
            is_running: false,
            is_paused: false,
            is_whole: job.is_whole,
            account: Account::default(),
        }
    }

    /// Tokens whose keys and values may come from the cache: all but the last, so that there is something to compute; where every
    /// token has to be computed, those that once were.
    pub fn reusable(&self) -> &[u32] {
        let most = self.tokens.len().saturating_sub(1);
        let most = if self.is_whole {
            most.min(self.reached)
        } else {
            most
        };
        &self.tokens[..most]
    }

    /// Whether all but the newest token are computed, so that each step gives a token.
    pub fn decodes(&self) -> bool {
        self.computed + 1 == self.tokens.len() && self.reached >= self.prompt
    }
}
