//! Which requests run together, and when: a state machine without clock and threads, to which the time is told.
//!
//! The highest priority goes first. Within it tenants take turns by the rows that they were given, and each one's requests go in their order. The first
//! request says which others may go with it: those of the same shapes behind the rows, of which the same outputs are wanted. Others are passed over,
//! but never twice in a row by the same tenant's requests: who was passed over is the first of the tenant, and its turn comes. Where rows are left,
//! lower priorities fill them.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use carnot_engine::MAX_PRIORITY;

use super::cost::Costs;
use super::{Batching, TimeoutAction};

/// Requests of which the mean time between arrivals is taken.
const ARRIVALS: usize = 16;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting<T> {
    pub id: u64,
    /// Only equal ones run together.
    pub group: Arc<Group>,
    pub rows: usize,
    pub priority: u8,
    pub tenant: Arc<str>,
    pub arrived: Duration,
    /// Until when it may wait.
    pub deadline: Option<Duration>,
    pub payload: T,
}

/// What requests have to have in common to run together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// The sizes behind the rows, of each input in the model's order.
    pub shapes: Vec<Vec<usize>>,
    /// The outputs that are wanted; all where none are named.
    pub outputs: Option<Vec<String>>,
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Run these together.
    Run(Vec<Waiting<T>>),
    /// Ask again at that time, or when something changed.
    Wait(Option<Duration>),
}

/// Requests that wait for a model.
#[derive(Debug)]
pub(super) struct Queue<T> {
    policy: Batching,
    most: usize,
    levels: [Level<T>; LEVELS],
    length: usize,
    running: usize,
    arrivals: Arrivals,
    /// How many rows wait for others, and since when it is no more.
    still: Option<(usize, Duration)>,
}

const LEVELS: usize = MAX_PRIORITY as usize + 1;

/// The requests of a priority.
#[derive(Debug)]
struct Level<T> {
    lines: Vec<Line<T>>,
    /// Those that waited for longer than they may.
    late: VecDeque<Waiting<T>>,
}

/// The requests of a tenant.
#[derive(Debug)]
struct Line<T> {
    tenant: Arc<str>,
    /// Rows that it was given, and those that others were given before it came.
    served: u64,
    waiting: VecDeque<Waiting<T>>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            late: VecDeque::new(),
        }
    }
}

impl<T> Queue<T> {
    /// An empty queue of at most `most` requests.
    pub fn new(policy: Batching, most: usize) -> Self {
        Self {
            policy,
            most,
            levels: std::array::from_fn(|_| Level::default()),
            length: 0,
            running: 0,
            arrivals: Arrivals::default(),
            still: None,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Takes a request that arrived now, or gives it back where the queue is full.
    pub fn push(&mut self, request: Waiting<T>) -> Result<(), Waiting<T>> {
        if self.length >= self.most {
            return Err(request);
        }
        self.length += 1;
        self.arrivals.add(request.arrived, request.rows);
        let level = &mut self.levels[usize::from(request.priority.min(MAX_PRIORITY))];
        let is_its = |line: &&mut Line<T>| line.tenant == request.tenant;
        if let Some(line) = level.lines.iter_mut().find(is_its) {
            line.waiting.push_back(request);
            return Ok(());
        }
        let served = level.lines.iter().map(|line| line.served).min();
        level.lines.push(Line {
            tenant: Arc::clone(&request.tenant),
            served: served.unwrap_or(0),
            waiting: VecDeque::from([request]),
        });
        Ok(())
    }

    /// Gives a request up that still waits.
    pub fn cancel(&mut self, id: u64) -> Option<Waiting<T>> {
        let found = self
            .levels
            .iter_mut()
            .find_map(|level| level.take(id, false));
        self.length -= usize::from(found.is_some());
        found
    }

    /// Those that have waited for as long as they may and are refused; where they are delayed instead there are none.
    pub fn expire(&mut self, now: Duration) -> Vec<Waiting<T>> {
        let mut expired = Vec::new();
        let is_late = |one: &Waiting<T>| one.deadline.is_some_and(|deadline| deadline <= now);
        for level in &mut self.levels {
            let mut late = Vec::new();
            for line in &mut level.lines {
                if line.waiting.iter().any(is_late) {
                    let (gone, stays) = mem::take(&mut line.waiting).into_iter().partition(is_late);
                    line.waiting = stays;
                    late.extend::<VecDeque<_>>(gone);
                }
            }
            level.lines.retain(|line| !line.waiting.is_empty());
            match self.policy.on_timeout {
                TimeoutAction::Reject => expired.append(&mut late),
                TimeoutAction::Delay => {
                    late.sort_by_key(|waiting| waiting.id);
                    late.iter_mut().for_each(|waiting| waiting.deadline = None);
                    level.late.extend(late);
                }
            }
        }
        self.length -= expired.len();
        expired
    }

    /// What an engine that is free has to do. A run that is given has to be told to have ended by [`Queue::ran`].
    pub fn next(&mut self, now: Duration, costs: &Costs) -> Next<T> {
        if self.policy.is_ordered && self.running > 0 {
            return Next::Wait(self.deadline());
        }
        let most = costs.limit(self.policy.max_rows.max(1), self.policy.target);
        let mut chosen = self.choose(most);
        let rows: usize = chosen.iter().map(|one| one.rows).sum();
        if chosen.is_empty() {
            return Next::Wait(self.deadline());
        }
        if rows < most {
            let latest = self.oldest().unwrap_or(now) + self.policy.max_delay;
            let preferred = self.preferred(&chosen);
            let until = match preferred {
                Some(_) => now,
                None if self.policy.preferred_rows.is_empty() => {
                    self.worth_waiting(now, (chosen.len(), rows), costs)
                }
                None => latest,
            };
            let until = until.min(latest);
            if until > now {
                let deadline = self.deadline();
                return Next::Wait(Some(deadline.map_or(until, |deadline| until.min(deadline))));
            }
            chosen.truncate(preferred.unwrap_or(chosen.len()));
        }
        self.still = None;
        self.running += 1;
        Next::Run(chosen.iter().filter_map(|one| self.take(one.id)).collect())
    }

    /// A run has ended.
    pub fn ran(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Until when it is worth to wait for another request.
    fn worth_waiting(
        &mut self,
        now: Duration,
        (requests, rows): (usize, usize),
        costs: &Costs,
    ) -> Duration {
        let since = match self.still {
            Some((same, since)) if same == rows => since,
            _ => now,
        };
        self.still = Some((rows, since));
        let Some((between, next)) = self.arrivals.mean() else {
            return now;
        };
        match costs.patience(requests, rows, next) {
            Some(patience) if between < patience => since + Duration::from_secs_f64(patience),
            _ => now,
        }
    }

    /// How many of the first that were chosen make the largest size that is preferred.
    fn preferred(&self, chosen: &[Chosen]) -> Option<usize> {
        let mut rows = 0;
        let sizes = chosen.iter().map(|one| {
            rows += one.rows;
            rows
        });
        let is_preferred = |(_, rows): &(usize, usize)| self.policy.preferred_rows.contains(rows);
        let last = sizes.enumerate().filter(is_preferred).last();
        last.map(|(index, _)| index + 1)
    }

    /// When the one arrived that waits longest.
    fn oldest(&self) -> Option<Duration> {
        let waiting = self.levels.iter().flat_map(|level| {
            let lines = level.lines.iter().flat_map(|line| &line.waiting);
            lines.chain(&level.late)
        });
        waiting.map(|one| one.arrived).min()
    }

    /// When the first of those that wait has waited for as long as it may.
    fn deadline(&self) -> Option<Duration> {
        let lines = self.levels.iter().flat_map(|level| &level.lines);
        let waiting = lines.flat_map(|line| &line.waiting);
        waiting.filter_map(|one| one.deadline).min()
    }

    /// Those that go next, in their order, of at most `most` rows in all unless the first has more.
    fn choose(&self, most: usize) -> Vec<Chosen> {
        let mut batch = Batch {
            room: most,
            group: None,
            chosen: Vec::new(),
        };
        for level in self.levels.iter().rev() {
            let goes_on = if self.policy.is_ordered {
                level.choose_in_order(&mut batch)
            } else {
                level.choose_in_turns(&mut batch);
                true
            };
            if !goes_on || batch.room == 0 {
                break;
            }
        }
        batch.chosen
    }

    fn take(&mut self, id: u64) -> Option<Waiting<T>> {
        let found = self
            .levels
            .iter_mut()
            .find_map(|level| level.take(id, true));
        self.length -= usize::from(found.is_some());
        found
    }
}

/// A run that is being put together.
struct Batch {
    room: usize,
    group: Option<Arc<Group>>,
    chosen: Vec<Chosen>,
}

#[derive(Clone, Copy, Debug)]
struct Chosen {
    id: u64,
    rows: usize,
}

impl Batch {
    fn takes<T>(&self, waiting: &Waiting<T>) -> bool {
        self.group.as_ref().is_none_or(|group| {
            waiting.rows <= self.room
                && (Arc::ptr_eq(group, &waiting.group) || **group == *waiting.group)
        })
    }

    fn add<T>(&mut self, waiting: &Waiting<T>) {
        self.group.get_or_insert_with(|| Arc::clone(&waiting.group));
        self.room = self.room.saturating_sub(waiting.rows);
        self.chosen.push(Chosen {
            id: waiting.id,
            rows: waiting.rows,
        });
    }
}

impl<T> Level<T> {
    /// By turns of the tenants; then those that are late.
    fn choose_in_turns(&self, batch: &mut Batch) {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| (line.served, line.waiting.iter().peekable()))
            .collect();
        while batch.room > 0 {
            let candidates = lines.iter_mut().filter_map(|(served, line)| {
                while line.next_if(|waiting| !batch.takes(waiting)).is_some() {}
                let first = line.peek()?.id;
                Some(((*served, first), (served, line)))
            });
            let Some((_, (served, line))) = candidates.min_by_key(|(turn, _)| *turn) else {
                break;
            };
            if let Some(waiting) = line.next() {
                *served += waiting.rows as u64;
                batch.add(waiting);
            }
        }
        for waiting in &self.late {
            if batch.room > 0 && batch.takes(waiting) {
                batch.add(waiting);
            }
        }
    }

    /// In the order in which they came, up to the first that does not fit; whether all did.
    fn choose_in_order(&self, batch: &mut Batch) -> bool {
        let lines = self.lines.iter().flat_map(|line| &line.waiting);
        let mut waiting: Vec<&Waiting<T>> = lines.collect();
        waiting.sort_by_key(|waiting| waiting.id);
        for waiting in waiting.into_iter().chain(&self.late) {
            if batch.room == 0 || !batch.takes(waiting) {
                return false;
            }
            batch.add(waiting);
        }
        true
    }

    fn take(&mut self, id: u64, is_served: bool) -> Option<Waiting<T>> {
        if let Some(at) = self.late.iter().position(|waiting| waiting.id == id) {
            return self.late.remove(at);
        }
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            let Some(at) = line.waiting.iter().position(|waiting| waiting.id == id) else {
                continue;
            };
            let taken = line.waiting.remove(at)?;
            if is_served {
                line.served += taken.rows as u64;
            }
            if line.waiting.is_empty() {
                self.lines.remove(index);
            }
            return Some(taken);
        }
        None
    }
}

/// When the last requests came, and how large they were.
#[derive(Clone, Debug, Default)]
struct Arrivals(VecDeque<(Duration, usize)>);

impl Arrivals {
    fn add(&mut self, at: Duration, rows: usize) {
        if self.0.len() == ARRIVALS {
            self.0.pop_front();
        }
        self.0.push_back((at, rows));
    }

    /// Seconds between two, and the rows of one, on average.
    fn mean(&self) -> Option<(f64, usize)> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let gaps = self.0.len() - 1;
        if gaps == 0 {
            return None;
        }
        let between = last.0.saturating_sub(first.0).as_secs_f64() / gaps as f64;
        let rows: usize = self.0.iter().map(|(_, rows)| rows).sum();
        Some((between, rows.div_ceil(self.0.len()).max(1)))
    }
}
