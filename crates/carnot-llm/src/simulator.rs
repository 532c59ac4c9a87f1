//! The scheduler at work without a model: costs instead of kernels, and a clock that is a number.
//!
//! A day of traffic takes seconds, and the same traffic always comes out the same. What scheduling does (to whom, in which order, at
//! what price) is exactly what the engine does, because it is the same [`Scheduler`]; how long a step takes is a
//! formula with three terms.

use std::collections::HashMap;
use std::time::Duration;

use carnot_engine::RequestId;

use crate::scheduler::{Account, Dropped, Job, Policy, Scheduler};

/// What a step costs: its own price, and one for every token.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Reading the weights.
    pub step: Duration,
    /// A sequence that decodes.
    pub decode: Duration,
    /// A prompt token.
    pub prompt: Duration,
}

/// A request to come.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// When.
    pub at: Duration,
    /// What.
    pub job: Job,
    /// When it is cancelled, if it is still there.
    pub cancelled_at: Option<Duration>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Story {
    /// When it came.
    pub arrived: Duration,
    /// When its first token was there.
    pub first_token: Option<Duration>,
    /// When it ended.
    pub ended: Duration,
    /// Tokens that were generated.
    pub tokens: usize,
    /// The longest time between two of its tokens.
    pub longest_gap: Duration,
    /// Why it ended early, if it did.
    pub dropped: Option<Dropped>,
    /// What became of its tokens.
    pub account: Account,
    last_token: Duration,
}

impl Story {
    /// From arrival to the first token.
    pub fn time_to_first_token(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_sub(self.arrived))
    }
}

/// A scheduler, and the time.
#[derive(Debug)]
pub struct Simulator {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The time since the beginning.
    pub now: Duration,
    costs: Costs,
    names: HashMap<RequestId, usize>,
    stories: Vec<Story>,
}

impl Simulator {
    /// A machine of `blocks` blocks that has nothing to do.
    pub fn new(policy: Policy, blocks: usize, costs: Costs) -> Self {
        Self {
            scheduler: Scheduler::new(policy, blocks),
            now: Duration::ZERO,
            costs,
            names: HashMap::new(),
            stories: Vec::new(),
        }
    }

    /// Runs `arrivals`, which are in the order of their times, to the last token of the last; `watch` sees every step.
    ///
    /// The stories are in the order of the arrivals.
    pub fn run(&mut self, arrivals: Vec<Arrival>, mut watch: impl FnMut(&Self)) -> Vec<Story> {
        let mut cancellations: Vec<(Duration, usize)> = Vec::new();
        let first = self.stories.len();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut ids = Vec::new();
        loop {
            while let Some(arrival) = arrivals.next_if(|arrival| arrival.at <= self.now) {
                cancellations.extend(arrival.cancelled_at.map(|at| (at, ids.len())));
                ids.push(self.submit(arrival));
            }
            cancellations.retain(|&(at, name)| {
                let is_due = at <= self.now;
                if is_due {
                    self.scheduler.cancel(ids[name]);
                }
                !is_due
            });
            if self.scheduler.is_idle() {
                match arrivals.peek() {
                    Some(next) => self.now = next.at,
                    None => break,
                }
                continue;
            }
            self.step();
            watch(self);
        }
        self.stories.split_off(first)
    }

    fn submit(&mut self, arrival: Arrival) -> RequestId {
        let id = self.scheduler.submit(arrival.job, arrival.at);
        self.names.insert(id, self.stories.len());
        self.stories.push(Story {
            arrived: arrival.at,
            ..Story::default()
        });
        id
    }

    fn step(&mut self) {
        let step = self.scheduler.plan(self.now);
        let of = |is_prefill| {
            let chunks = step.chunks.iter();
            let chunks = chunks.filter(move |chunk| chunk.is_prefill == is_prefill);
            chunks.map(|chunk| chunk.positions.len()).sum::<usize>() as u32
        };
        self.now += self.costs.step + self.costs.decode * of(false) + self.costs.prompt * of(true);
        for ended in step.dropped {
            self.end(ended.id, Some(ended.why), ended.account);
        }
        for chunk in step.chunks {
            self.scheduler.computed(&chunk);
            if !chunk.samples {
                continue;
            }
            let account = self.scheduler.account(chunk.id);
            let goes_on = self
                .scheduler
                .push(chunk.id, token(chunk.id, chunk.positions.end));
            self.tell(chunk.id);
            if !goes_on {
                self.scheduler.finish(chunk.id);
                self.end(chunk.id, None, account);
            }
        }
    }

    fn tell(&mut self, id: RequestId) {
        let now = self.now;
        let story = &mut self.stories[self.names[&id]];
        story.tokens += 1;
        if story.first_token.is_some() {
            story.longest_gap = story.longest_gap.max(now.saturating_sub(story.last_token));
        }
        story.first_token.get_or_insert(now);
        story.last_token = now;
    }

    fn end(&mut self, id: RequestId, dropped: Option<Dropped>, account: Account) {
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        let story = &mut self.stories[name];
        story.ended = self.now;
        story.dropped = dropped;
        story.account = account;
    }
}

/// A token that depends on whose it is and where it stands.
fn token(id: RequestId, position: usize) -> u32 {
    let mixed = (id.0 << 32 | position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u32
}
