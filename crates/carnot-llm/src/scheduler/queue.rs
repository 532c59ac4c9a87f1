//! Who waits, and who is next.
//!
//! Requests stand in lanes, one for each priority and tenant, in the order of their submission. Next is a request of the
//! highest level, where a level is the priority and one more for every so long that the lane has waited for a turn: nothing waits for
//! ever, and a long lane that has its turns does not rise. Of the tenants on that level it is the one that was served least (the
//! virtual token counter of Sheng et al., 2024), and of its lane the request of which the prefix cache has most, unless the first was
//! passed over often enough.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use carnot_engine::{MAX_PRIORITY, RequestId};

/// How far into a lane the longest prefix is looked for.
const LOOK: usize = 16;

/// Rules of the order.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Waiting this long is worth a level.
    pub ageing: Duration,
    /// How often a request may be passed over by later ones of its lane.
    pub max_passes: u32,
}

/// A priority and a tenant.
type Name = (u8, Arc<str>);

#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
    /// When one of them was last admitted.
    served: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: RequestId,
    arrived: Duration,
    passes: u32,
}

/// The one who is next.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub id: RequestId,
    /// Its priority as submitted, which alone may displace others.
    pub priority: u8,
    /// Where it stands by now.
    pub level: u8,
    /// How long it has waited.
    pub waited: Duration,
    lane: Name,
    index: usize,
}

/// Requests that wait.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: BTreeMap<Name, Lane>,
    length: usize,
}

impl Queue {
    /// Requests in all lanes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Requests of one priority.
    pub fn len_of(&self, priority: u8) -> usize {
        let lanes = self.lanes.iter().filter(|((of, _), _)| *of == priority);
        lanes.map(|(_, lane)| lane.entries.len()).sum()
    }

    /// Puts a request where its number, which rises with submission, belongs in its lane: one that comes back has its old place.
    pub fn push(&mut self, id: RequestId, priority: u8, tenant: &Arc<str>, arrived: Duration) {
        let lane = self
            .lanes
            .entry((priority, Arc::clone(tenant)))
            .or_default();
        let at = lane.entries.partition_point(|entry| entry.id < id);
        let entry = Entry {
            id,
            arrived,
            passes: 0,
        };
        lane.entries.insert(at, entry);
        self.length += 1;
    }

    /// Takes a request out; whether it was there.
    pub fn remove(&mut self, id: RequestId, priority: u8, tenant: &Arc<str>) -> bool {
        let key = (priority, Arc::clone(tenant));
        let Some(lane) = self.lanes.get_mut(&key) else {
            return false;
        };
        let Ok(at) = lane.entries.binary_search_by(|entry| entry.id.cmp(&id)) else {
            return false;
        };
        lane.entries.remove(at);
        if lane.entries.is_empty() {
            self.lanes.remove(&key);
        }
        self.length -= 1;
        true
    }

    /// The next request. `served` says what a tenant got, `matching` how many tokens of a request are cached.
    pub fn candidate(
        &self,
        now: Duration,
        order: Order,
        served: impl Fn(&Arc<str>) -> u64,
        matching: impl Fn(RequestId) -> usize,
    ) -> Option<Candidate> {
        let waited =
            |lane: &Lane, entry: &Entry| now.saturating_sub(entry.arrived.max(lane.served));
        let level = |priority, lane: &Lane, entry: &Entry| {
            level(priority, waited(lane, entry), order.ageing)
        };
        let heads = self
            .lanes
            .iter()
            .filter_map(|(name, lane)| Some((name, lane, lane.entries.front()?)));
        let (name, lane, head) = heads.min_by_key(|(name, lane, head)| {
            let level = level(name.0, lane, head);
            (Reverse(level), served(&name.1), head.id)
        })?;
        let index = if head.passes >= order.max_passes {
            0
        } else {
            let top = level(name.0, lane, head);
            let peers = lane.entries.iter().take(LOOK);
            let peers = peers.take_while(|entry| level(name.0, lane, entry) == top);
            // Of equals the first; `max_by_key` would give the last.
            let lengths = peers.map(|entry| matching(entry.id)).enumerate();
            lengths
                .min_by_key(|&(_, length)| Reverse(length))
                .map_or(0, |(index, _)| index)
        };
        let entry = &lane.entries[index];
        Some(Candidate {
            id: entry.id,
            priority: name.0,
            level: level(name.0, lane, entry),
            waited: waited(lane, entry),
            lane: name.clone(),
            index,
        })
    }

    /// Takes the candidate out at the time `now`; those before it were passed over.
    pub fn take(&mut self, candidate: &Candidate, now: Duration) {
        let Some(lane) = self.lanes.get_mut(&candidate.lane) else {
            return;
        };
        for entry in lane.entries.iter_mut().take(candidate.index) {
            entry.passes += 1;
        }
        lane.entries.remove(candidate.index);
        lane.served = now;
        if lane.entries.is_empty() {
            self.lanes.remove(&candidate.lane);
        }
        self.length -= 1;
    }
}

fn level(priority: u8, waited: Duration, ageing: Duration) -> u8 {
    let risen = waited.as_nanos() / ageing.as_nanos().max(1);
    let risen = u8::try_from(risen).unwrap_or(u8::MAX);
    priority.saturating_add(risen).min(MAX_PRIORITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order {
        ageing: Duration::from_secs(10),
        max_passes: 2,
    };

    fn queue(entries: &[(u64, u8, &str, u64)]) -> Queue {
        let mut queue = Queue::default();
        for &(id, priority, tenant, arrived) in entries {
            queue.push(
                RequestId(id),
                priority,
                &tenant.into(),
                Duration::from_secs(arrived),
            );
        }
        queue
    }

    /// Everybody in the order in which they are next at `now`.
    fn drain(queue: &mut Queue, now: u64, matching: impl Fn(u64) -> usize) -> Vec<u64> {
        let next = || {
            let now = Duration::from_secs(now);
            let candidate = queue.candidate(
                now,
                ORDER,
                |tenant| tenant.len() as u64,
                |id| matching(id.0),
            )?;
            queue.take(&candidate, now);
            Some(candidate.id.0)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_highest_priority_goes_first_then_the_earliest() {
        let mut queue = queue(&[(0, 3, "", 0), (1, 10, "", 0), (2, 3, "", 0), (3, 10, "", 0)]);
        assert_eq!((queue.len(), queue.len_of(3)), (4, 2));
        assert_eq!(drain(&mut queue, 0, |_| 0), [1, 3, 0, 2]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn waiting_raises_the_level() {
        let entries = [(0, 0, "", 0), (1, 5, "", 60)];
        assert_eq!(
            drain(&mut queue(&entries), 60, |_| 0),
            [0, 1],
            "six levels in a minute"
        );
        assert_eq!(
            drain(&mut queue(&entries[..]), 49, |_| 0),
            [1, 0],
            "four are not enough"
        );
        assert_eq!(
            drain(&mut queue(&[(0, 0, "", 0), (1, 10, "", 500)]), 1000, |_| 0),
            [0, 1]
        );
    }

    #[test]
    fn of_tenants_the_one_that_was_served_least() {
        let mut queue = queue(&[(0, 5, "greedy", 0), (1, 5, "meek", 0), (2, 6, "greedy", 0)]);
        assert_eq!(drain(&mut queue, 0, |_| 0), [2, 1, 0]);
    }

    #[test]
    fn the_longest_prefix_goes_first_but_nobody_is_passed_over_for_ever() {
        let entries = [(0, 5, "", 0), (1, 5, "", 0), (2, 5, "", 0), (3, 5, "", 0)];
        let order = drain(&mut queue(&entries), 0, |id| id as usize);
        assert_eq!(
            order,
            [3, 2, 0, 1],
            "after two passes it is the first's turn"
        );
        assert_eq!(drain(&mut queue(&entries), 0, |_| 7), [0, 1, 2, 3]);
    }

    #[test]
    fn one_that_comes_back_has_its_old_place() {
        let mut queue = queue(&[(1, 5, "", 0), (2, 5, "", 0)]);
        queue.push(RequestId(0), 5, &"".into(), Duration::ZERO);
        assert!(queue.remove(RequestId(1), 5, &"".into()));
        assert!(!queue.remove(RequestId(1), 5, &"".into()));
        assert!(!queue.remove(RequestId(2), 4, &"".into()));
        assert_eq!(drain(&mut queue, 0, |_| 0), [0, 2]);
    }
}
